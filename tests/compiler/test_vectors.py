"""The tests of kernels that a plan for GPUs carries: every program has one, and it can fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolkit
from opencl_kernels import FAMILIES, family_of
from opencl_kernels.kernel import Argument
from opencl_kernels.matmul.matmul import Product
from toolkit.compiler.lowering.kernel_case import KernelCase, kernel_case_of
from toolkit.compiler.vectors import cases
from toolkit.compiler.vectors.cases import TestCase as Case
from toolkit.compiler.vectors.drawn import (
    NotMadeUp,
    expected_of,
    filled,
    hashes,
    range_of,
    told_apart,
)
from toolkit.compiler.vectors.tests import TAIL, _Computed, untested_kernels, with_tests
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Dispatch, Expected, Fill, Plan, Program
from toolkit.plan.text import to_json

DEMO = Path(toolkit.__file__).parent / "demo_model"
MOST_BYTES = 2048


@pytest.fixture(scope="module")
def adreno(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tests") / "demo.plan"
    toolkit.compile(DEMO, path, device="adreno")
    return path


@pytest.fixture(scope="module")
def plan(adreno: Path) -> Plan:
    return load_plan(adreno)


def test_every_program_has_one(plan: Plan) -> None:
    assert len(plan.tests) > 15 and untested_kernels(plan) == []
    lines = [json.dumps(test) for test in json.loads(to_json(plan))["tests"]]
    assert max(map(len, lines)) < MOST_BYTES


def test_they_see_every_written_argument(plan: Plan) -> None:
    for test in plan.tests:
        step = plan.phases[test.phase].steps[test.step]
        assert isinstance(step, Dispatch)
        told = {each.arg for each in test.expected}
        unknown = {i for i in step.writes if i not in told}
        names = {variant.program for variant in step.variants}
        kernels = {plan.programs[number].kernel for number in names}
        # what a sampler leaves for its own next launch, or in no order
        assert not unknown or kernels <= {"sample_best", "sample_weights", "sample_pick"}


def test_a_program_without_a_case_has_none(plan: Plan, adreno: Path) -> None:
    bare = tuple(replace(program, case=None) for program in plan.programs)
    stripped = replace(plan, programs=bare, tests=())
    assert with_tests(stripped, adreno).tests == ()
    assert "gemv" in untested_kernels(stripped)


def shuffled(rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(35)


def nothing_random(rng: np.random.Generator) -> np.ndarray:
    return np.zeros(35)


def two_ranges(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([rng.integers(0, 2, (30,)), rng.integers(5, 9, (5,))])


@pytest.mark.parametrize("random", [shuffled, nothing_random, two_ranges])
def test_what_the_formula_does_not_draw_leaves_a_program_untested(
    random: Callable[[np.random.Generator], np.ndarray],
    plan: Plan,
    adreno: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with embeddings whose tokens were drawn otherwise."""

    def arguments(case: Any) -> tuple[Argument, ...]:
        each = FAMILIES["embed"].arguments(case)
        return tuple(replace(a, random=random) if a.name == "tokens" else a for a in each)

    def changed(program: Program) -> KernelCase | None:
        found = kernel_case_of(program)
        if found is None or found.family.name != "embed":
            return found
        return replace(found, family=replace(found.family, arguments=arguments))

    monkeypatch.setattr(cases, "kernel_case_of", changed)
    assert untested_kernels(with_tests(replace(plan, tests=()), adreno)) == ["embed"]


def test_a_ticket_is_not_made_up() -> None:
    """Its slots differ from each other."""
    ticket, *_ = FAMILIES["neurons"].arguments(FAMILIES["neurons"].cases[0])
    with pytest.raises(NotMadeUp, match="ticket is drawn by permutation"):
        range_of(ticket, False)


def test_a_processor_is_trusted(tmp_path: Path) -> None:
    plan = toolkit.compile(DEMO, tmp_path / "demo.plan", device="pocl").plan
    assert plan.tests == () and '"tests"' not in (tmp_path / "demo.plan/plan.json").read_text()


@pytest.mark.parametrize(
    ("dtype", "low", "span", "least", "greatest"),
    [
        (np.float16, -128, 257, -2, 2),
        (np.float32, 1, 128, 1 / 64, 2),
        (np.int32, -2, 9, -2, 6),
        (np.int64, -9, 19, -9, 9),
        (np.uint8, 0, 2, 0, 1),
    ],
)
def test_numbers_are_made_up_exactly(
    dtype: type[np.generic], low: int, span: int, least: float, greatest: float
) -> None:
    values = filled(Fill(3, 999, low, span, 7), np.dtype(dtype))
    assert values.dtype == dtype and values.shape == (7 * 999,)
    assert values.min() == least and values.max() == greatest
    other = filled(Fill(4, 999, low, span, 7), np.dtype(dtype))
    assert (values != other).any()  # another argument has others


def test_words_are_told_one_by_one() -> None:
    words = filled(Fill(1, 3, words=(-1, 7, 1065353216)), np.dtype(np.int32))
    assert words.tolist() == [-1, 7, 1065353216]
    assert filled(Fill(1, 1, words=(1065353216,)), np.dtype(np.float32)).tolist() == [1.0]


def test_the_hash_stays() -> None:
    """Plans that were compiled before depend on it, and so do runners."""
    assert hashes(0, 4).tolist() == [0, 1753845952, 3507691905, 1408362973]


def error(expected: np.ndarray, actual: np.ndarray) -> float:
    """The share of its size that sums tell an array to be off by."""
    told = expected_of(1, (1, 0), expected, None)
    sums = np.array(told_apart(actual, told.size))
    return float(np.sqrt(np.mean((sums - np.array(told.sums)) ** 2.0)) / 4096)


@pytest.mark.parametrize("size", [65, 4097, 100_003])
def test_sums_tell_arrays_apart(size: int) -> None:
    rng = np.random.default_rng(size)
    right = rng.standard_normal(size)
    assert error(right, right + 0.001 * rng.standard_normal(size)) < 1 / 300
    dropped = np.where(np.arange(size) % 64 == 3, 0, right)
    assert error(right, dropped) > 1 / 30  # one of 64 is missing
    assert error(right, np.roll(right, 1)) > 0.5
    assert error(right, -right) > 1


def test_whole_numbers_are_exact() -> None:
    ids = np.arange(100, dtype=np.int64)
    told = expected_of(1, (1, 0), ids, None)
    assert told.size == 0 and told.sums == told_apart(ids, 0)
    ids[99] += 1
    assert told.sums != told_apart(ids, 0)


def test_what_stays_is_no_part_of_the_size() -> None:
    """A state of which one slot is written: an error in it counts by the slot's size."""
    before, after = np.ones(10_000), np.ones(10_000)
    after[7:10] = 3.0
    assert expected_of(1, (1, 0), after, before).size == pytest.approx(np.sqrt(12), rel=1e-5)


def told(plan: Plan, adreno: Path, values: np.ndarray, dtype: str = "f32") -> list[Expected]:
    """What a test tells of the y of a product, where it is `values`."""
    dispatch = plan.phases[0].steps[0]
    assert isinstance(dispatch, Dispatch)
    family, product = family_of("gemv"), Product(M=1, N=values.size, K=96)
    arguments = family.arguments(product)
    case = Case(dispatch, family, product, arguments, arguments, {}, {})
    computed = _Computed(plan, adreno, case, {}, False)
    y = replace(arguments[-1], dtype=dtype)
    return list(computed._told(len(arguments) - 1, y, values, {}))


def apart(told: Expected, actual: np.ndarray) -> float:
    """As the runner compares, in shares of the size."""
    sums = np.array(told_apart(actual[told.first :], told.size)) - np.array(told.sums)
    return float(np.sqrt(np.mean(sums**2.0)) / 4096)


def test_what_rounding_leaves_of_a_faint_tail_is_no_error(plan: Plan, adreno: Path) -> None:
    """Products of codes that equal their zero point are 0 in numpy, and nearly so in floats."""
    rng = np.random.default_rng(0)
    for faint in (0.0, 1e-6):
        right = rng.standard_normal(999)
        right[-TAIL:] *= faint
        whole, tail = told(plan, adreno, right)
        assert (whole.first, tail.first, tail.count) == (0, 999 - TAIL, TAIL)
        noise = np.zeros(999)
        noise[-TAIL:] = rng.standard_normal(TAIL)
        assert apart(tail, right + 1e-5 * noise) < 1 / 64  # of a norm of 6e-5
        assert apart(tail, right + 1e-2 * noise) > 1 / 64 > apart(whole, right + 1e-2 * noise)


def test_floats_that_are_all_nothing_are_told_nothing_of(plan: Plan, adreno: Path) -> None:
    """An error in them has no measure; in whole numbers there is none."""
    assert told(plan, adreno, np.zeros(999)) == []
    assert [each.size for each in told(plan, adreno, np.zeros(999, np.int64), "i32")] == [0, 0]
