"""Reads cover what they must, in whole pages and in order, and join where joining pays."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.offload.coalesce import Runs, coalesce
from toolkit.plan.schema import PAGE

SHAPES = ((3648, 4096), (1216, 1216), (4864, 4864), (7296, 8192), (64, 64), (17024, 17024))


def naive(starts: list[int], size: int, gap: int, max_read: int, most: int) -> list[list[int]]:
    """[offset, bytes, first] one record after the other."""
    runs: list[list[int]] = []
    for number, start in enumerate(starts):
        begin, end = start // PAGE * PAGE, (start + size + PAGE - 1) // PAGE * PAGE
        if number % most and runs:
            offset, length, first = runs[-1]
            if begin - (offset + length) <= gap and end - offset <= max_read:
                runs[-1] = [offset, end - offset, first]
                continue
        runs.append([begin, end - begin, number])
    return runs


def listed(runs: Runs) -> list[list[int]]:
    return [
        [*span, int(first)] for span, first in zip(runs.spans.tolist(), runs.firsts, strict=True)
    ]


@pytest.mark.parametrize("size, stride", SHAPES)
@pytest.mark.parametrize("count", [1, 7, 63, 65, 1000])
def test_runs_are_those_of_one_record_after_the_other(size: int, stride: int, count: int) -> None:
    rng = np.random.default_rng([size, count])
    for share in (0.05, 0.3, 0.9, 1.0):
        records = np.flatnonzero(rng.random(count) < share)
        starts = PAGE * int(rng.integers(0, 1 << 20)) + records * stride
        gap, most = int(rng.choice([0, 2, 15])) * PAGE, int(rng.choice([1, 5, 64, count]))
        max_read = int(rng.choice([1, 6, 8, 128])) * PAGE  # also less than a record
        found = coalesce(starts, size, gap, max_read, most)
        assert listed(found) == naive(starts.tolist(), size, gap, max_read, most)
        covers(found, starts, size, gap, max_read)


def covers(runs: Runs, starts: np.ndarray, size: int, gap: int, max_read: int) -> None:
    """Every byte of every record is in the run that it belongs to."""
    assert not np.any(runs.spans % PAGE)
    ends = np.append(runs.firsts, len(starts))[1:]
    assert runs.bytes == sum(length for _, length in runs.spans.tolist())
    for (offset, length), first, end in zip(runs.spans.tolist(), runs.firsts, ends, strict=True):
        inside = starts[first:end]
        assert offset <= inside[0] < offset + PAGE  # no page before, and none after
        assert offset + length - PAGE < inside[-1] + size <= offset + length
        assert np.all(inside[1:] // PAGE * PAGE - inside[:-1] - size <= gap + PAGE)
        assert length <= max_read or len(inside) == 1


def test_a_page_is_read_once_where_records_share_it() -> None:
    starts = np.arange(7) * 1216
    runs = coalesce(starts, 1216, 0, 1 << 20, 100)
    assert listed(runs) == [[0, 3 * PAGE, 0]]


def test_no_records_need_no_reads() -> None:
    runs = coalesce(np.zeros(0, np.int64), 64, PAGE, PAGE, 8)
    assert listed(runs) == [] and runs.bytes == 0


def test_a_gap_is_read_where_it_is_no_larger_than_allowed() -> None:
    starts = np.array([0, 3 * PAGE])
    assert listed(coalesce(starts, PAGE, 2 * PAGE, 4 * PAGE, 9)) == [[0, 4 * PAGE, 0]]
    assert len(coalesce(starts, PAGE, PAGE, 4 * PAGE, 9).firsts) == 2
    assert len(coalesce(starts, PAGE, 2 * PAGE, 3 * PAGE, 9).firsts) == 2
    assert len(coalesce(starts, PAGE, 2 * PAGE, 4 * PAGE, 1).firsts) == 2  # clusters of one
