"""The known names most like a word, whatever its case and punctuation."""

import pytest

from toolkit.errors import PocketError
from toolkit.nearest import FEW, nearest, unknown

NAMES = ("gemm", "gemv_cpu", "rmsnorm", "add_rmsnorm", "attention_decode")


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("gem", "gemm"),
        ("GEMV-CPU", "gemv_cpu"),
        ("rms_norm", "rmsnorm"),
        ("atention", NAMES[4]),
    ],
)
def test_nearest(word: str, first: str) -> None:
    assert nearest(word, NAMES)[0] == first


@pytest.mark.parametrize("word", ["", "_", "xyz", "\0"])
def test_nothing_is_near(word: str) -> None:
    assert nearest(word, NAMES) == []


def test_few_names_are_listed_where_none_is_near_many_never() -> None:
    def said(word: str, count: int) -> PocketError:
        return unknown("no such name", word, [f"name-{n}" for n in range(count)], "see there")

    assert "name-3" in said("xyz", FEW).because and "name-3" not in said("xyz", FEW + 1).because
    near = said("name-3", FEW + 1)
    assert near.hint.startswith("use name-3 ") and near.hint.endswith("; see there")
