"""Selectors against sorted lists, the papers' vectors, and what floats have that numbers don't."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toolkit.errors import PocketError
from toolkit.offload.selection import at_point, select
from toolkit.plan.schema import SELECTORS, Select

COUNTS = (1, 7, 63, 65, 1000)
NAN, INF = float("nan"), float("inf")


def chosen(rule: Select, scores: list[float], resident: list[int] | None = None) -> list[int]:
    near = np.array(resident or [0] * len(scores), bool)
    return select(rule, np.array(scores, np.float32), len(scores), near).tolist()


def top(scores: np.ndarray, k: int, gamma: float, resident: np.ndarray) -> list[int]:
    """By sorting whole numbers and floats of Python."""
    sizes = [0.0 if math.isnan(v) else abs(float(v)) for v in scores]
    small = [float(np.float32(size) * np.float32(gamma)) for size in sizes]
    found = [a if near else b for a, b, near in zip(sizes, small, resident, strict=True)]
    return sorted(sorted(range(len(found)), key=lambda i: (-found[i], i))[:k])


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("gamma", [1.0, 0.5, 0.2, 0.1, 0.0])
def test_top_takes_the_greatest_and_the_lower_of_equals(count: int, gamma: float) -> None:
    rng = np.random.default_rng(count)
    for k in {1, count // 3 + 1, count}:
        scores = rng.integers(-20, 20, count).astype(np.float32) / 7  # many are equal
        scores[rng.random(count) < 0.05] = NAN
        resident = rng.random(count) < 0.5
        rule = Select("top", k=k, gamma=gamma)
        expected = top(scores, k, gamma, resident)
        assert select(rule, scores, count, resident).tolist() == expected


def test_top_has_the_papers_vectors() -> None:
    given = [0.312, 0.876, 0.33]
    assert chosen(Select("top", k=2, gamma=0.2), given, [1, 0, 1]) == [0, 2]
    sizes, resident = [0.9, 0.8, 0.5, 0.45, 0.3, 0.2], [0, 0, 1, 1, 0, 1]
    for gamma, found in ((1, [0, 1, 2]), (0.5, [0, 2, 3]), (0.2, [2, 3, 5]), (0, [2, 3, 5])):
        assert chosen(Select("top", k=3, gamma=gamma), sizes, resident) == found


def test_without_a_penalty_what_is_resident_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    scores = rng.standard_normal(65).astype(np.float32)
    rule = Select("top", k=20, gamma=1.0)
    found = [select(rule, scores, 65, rng.random(65) < share).tolist() for share in (0, 0.5, 1)]
    assert found[0] == found[1] == found[2]


def test_with_all_penalty_nothing_that_is_missing_is_chosen_while_there_is_room() -> None:
    rng = np.random.default_rng(2)
    scores = rng.standard_normal(65).astype(np.float32)
    resident = np.arange(65) % 2 == 0
    assert resident[select(Select("top", k=30, gamma=0.0), scores, 65, resident)].all()


def test_a_nan_counts_as_zero() -> None:
    scores = [NAN, -1.0, 0.5, -NAN]
    assert chosen(Select("above", threshold=-0.5), scores) == [0, 2, 3]
    assert chosen(Select("above", threshold=0.0), scores) == [2]
    assert chosen(Select("nonzero"), scores) == [1, 2]
    assert chosen(Select("top", k=3), scores) == [0, 1, 2]


def test_above_compares_in_float32() -> None:
    """0.1 is more in float32 than in double: a threshold of it is not above itself."""
    near = np.nextafter(np.float32(0.1), np.float32(1))
    assert chosen(Select("above", threshold=0.1), [np.float32(0.1), near, -near]) == [1]
    by_size = Select("above", threshold=0.1, magnitude=True)
    assert chosen(by_size, [np.float32(0.1), near, -near, -INF]) == [1, 2, 3]


def test_zeros_of_both_signs_are_zero_and_the_smallest_float_is_not() -> None:
    least = np.float32(1e-45)
    assert chosen(Select("nonzero"), [0.0, -0.0, least, -least]) == [2, 3]
    assert chosen(Select("top", k=1), [0.0, -0.0, -least]) == [2]


def test_all_and_ids_take_indices() -> None:
    none = np.zeros(7, bool)
    assert select(Select("all"), None, 7, none).tolist() == list(range(7))
    ids = np.array([5, 0, 5, 6], np.int32)
    assert select(Select("ids", k=4), ids, 7, none).tolist() == [0, 5, 6]


@pytest.mark.parametrize("bad", [-1, 7])
def test_an_id_without_a_record_is_an_error(bad: int) -> None:
    with pytest.raises(PocketError, match=f"id {bad} has no record"):
        select(Select("ids", k=2), np.array([3, bad], np.int32), 7, np.zeros(7, bool))


def test_every_selector_of_the_plan_is_there() -> None:
    for by in SELECTORS:
        scores = np.zeros(1, np.int32 if by == "ids" else np.float32)
        select(Select(by, k=1), scores, 1, np.zeros(1, bool))


def test_a_point_says_how_many_or_above_what() -> None:
    assert at_point(Select("top", k=3, gamma=0.2), 5.0) == Select("top", k=5, gamma=0.2)
    assert at_point(Select("above", threshold=1.0), -0.25) == Select("above", threshold=-0.25)
