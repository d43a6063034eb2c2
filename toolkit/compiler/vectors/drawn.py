"""Numbers made up by a formula that the runner has too, and sums by which arrays are told apart."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument
from toolkit.plan.checks.kernel_tests import SUMS
from toolkit.plan.schema import Expected, Fill

PARTS = 64  # of 1: floats are made up in these, which halves hold exactly
STEPS = 4096  # of the size of an array: how finely its sums are told
FLOATS, POSITIVE = (-2 * PARTS, 4 * PARTS + 1), (1, 2 * PARTS)  # the least, and how many there are


def hashes(first: int, count: int) -> Array:
    """A hash of each of the integers from `first` on; base/vectors.cpp has the same."""
    x = np.arange(first, first + count, dtype=np.uint32)
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
    return np.asarray(x ^ x >> np.uint32(16))


def filled(fill: Fill, dtype: np.dtype[Any]) -> Array:
    """The elements of a fill, all runs in one."""
    if fill.words:
        return np.array(fill.words, np.int64).astype(np.uint32).view(dtype)
    first = (fill.arg * 65537 + fill.first * 40503) % 2**32
    drawn = hashes(first, fill.rows * fill.count) % np.uint32(fill.span)
    whole = fill.low + drawn.astype(np.int64)
    return (whole / PARTS if dtype.kind == "f" else whole).astype(dtype)


def range_of(argument: Argument, positive: bool) -> tuple[int, int]:
    """The least number for an argument, and how many there are; of floats in 64ths.

    Raises NotMadeUp where its numbers are no integers of one range, each drawn for itself.
    """
    if argument.random is None:
        return POSITIVE if positive else FLOATS
    draw = _Draw(argument.name)
    argument.random(draw)  # type: ignore[arg-type]  # it raises whatever else is asked of it
    if draw.range is None:
        raise NotMadeUp(f"{argument.name} is not drawn at random")
    return draw.range


class NotMadeUp(Exception):
    """An argument is drawn by more than the formula makes."""


class _Draw:
    """In the place of a random generator: notes what it is asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.range: tuple[int, int] | None = None

    def integers(self, low: int, high: int, shape: tuple[Any, ...]) -> Array:
        if self.range is not None:
            raise NotMadeUp(f"{self.name} is drawn in two parts")
        self.range = int(low), int(high) - int(low)
        return np.zeros(tuple(map(int, shape)), np.int64)

    def __getattr__(self, method: str) -> NoReturn:
        raise NotMadeUp(f"{self.name} is drawn by {method}")


def told_apart(values: Array, size: float) -> tuple[int, ...]:
    """Sums of the values with signs of `hashes`: 4096ths of `size`, or where it is 0, 64ths.

    The sums of an error have its root sum square as their own mean one, wherever it lies.
    """
    flat = values.reshape(-1).astype(np.float64)
    bits = hashes(0, flat.size)
    sums = (flat @ (1 - 2.0 * (bits >> np.uint32(j) & np.uint32(1))) for j in range(SUMS))
    scale = STEPS / size if size else PARTS
    return tuple(round(float(each) * scale) for each in sums)


def expected_of(
    arg: int,
    runs: Sequence[int],
    values: Array,
    before: Array | None,
    last: int = 0,
    least: float = 0.0,
) -> Expected:
    """What is told of an argument.

    runs    their number, and elements from one to the next
    before  what it held, where only a part of it is written
    last    only so many of its last elements; 0: all
    least   the size of floats, where theirs is smaller
    """
    rows, stride = runs
    flat = values.reshape(-1)
    change = flat if before is None else flat.astype(np.float64) - before.reshape(-1)
    part = slice(-last, None)
    size = 0.0
    if values.dtype.kind != "i":
        norm = np.linalg.norm(change[part].astype(np.float64))
        size = float(f"{max(norm, least):.6g}")
    sums = told_apart(flat[part], size)
    if last:
        return Expected(arg, last, size, sums, flat.size - last)
    return Expected(arg, flat.size // rows, size, sums, 0, rows, stride)
