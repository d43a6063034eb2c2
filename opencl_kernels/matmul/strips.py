"""How kernels of GPUs go over a weight for few rows: by strips of 32 outputs (strips.clh)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import sympy

from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.formats import STRIP
from opencl_kernels.kernel import Knobs

LOCAL_BYTES = 24576  # of a work-group at most, where it could do with less
LEAST_DEPTH = 96  # elements of K for each slice, where a work-group may have fewer slices
FEWEST_ITEMS = 64  # to which a work-group is made narrower
FEWEST_GROUPS = 32  # work-groups that keep a phone's GPU busy
HEADS = 8  # floats of local memory beside one of each work-item: sums of a norm (gemv_rows.clh)


Found = TypeVar("Found")


def count(outputs: int) -> int:
    """Strips of a weight."""
    return int(ceil_div(outputs, STRIP))


def together(outputs: int, normed: bool, knobs: Knobs) -> int:
    """Strips that a work-group does, one after the other: STRIPS, or more with a norm.

    That is every work-group's own: up to four strips share one as long as FEWEST_GROUPS are left.
    """
    most = count(outputs) // FEWEST_GROUPS if normed else 1
    return max(knobs["STRIPS"], 4 if most >= 4 else 2 if most >= 2 else 1)


def suited(knobs: Knobs, bits: int, *depths: int) -> Knobs:
    """The knobs as they suit products of these depths, of codes of so many bits.

    WG is less where a slice would have little of K, for each has costs of its own. RUN, which is
    of words of four bits, is as many codes of others.
    """
    items = knobs["WG"]
    while items > FEWEST_ITEMS and items // 8 * LEAST_DEPTH > max(depths):
        items //= 2
    return {**knobs, "WG": items, "RUN": knobs["RUN"] * (bits or 4) // 4}


def by_depth(of: Callable[[Any, Knobs], Found]) -> Callable[[Any, Knobs], Found]:
    """What a kernel of a product is asked for, at the knobs that suit its depth."""
    return lambda case, knobs: of(case, suited(knobs, case.w.bits, case.K))


def slices(knobs: Knobs) -> int:
    """Parts of K that a work-group sums apart: eight work-items hold a strip's 32 outputs."""
    return knobs["WG"] // 8


def sums(knobs: Knobs) -> int:
    """Floats of local memory in which the slices' sums of one row of x meet."""
    return slices(knobs) * STRIP


def runs(case: Any, knobs: Knobs) -> Defines:
    """The define RUN as it suits the case; floats have none."""
    return {"RUN": run(case, knobs)} if case.w.bits else {}


def rows(case: Any, knobs: Knobs) -> int:
    """Rows of x at once: MB, or all where these are fewer."""
    number = sympy.sympify(case.M).is_Integer
    return min(int(case.M), knobs["MB"]) if number else knobs["MB"]


def run(case: Any, knobs: Knobs) -> int:
    """Words that a slice takes in a row: a whole group, or RUN; fewer where slices had none."""
    words = case.w.group * case.w.bits // 32
    most = max(1, ceil_div(case.K * case.w.bits, 32) // slices(knobs))
    wanted: int = min(words, knobs["RUN"] or words)
    while wanted > most:
        wanted //= 2
    return wanted


def staged(case: Any, knobs: Knobs) -> int:
    """Floats of local memory for what a norm makes of x: 0 where there is none, or no room."""
    floats = rows(case, knobs) * depth(case, knobs) if case.normed else 0
    return floats if 4 * (floats + _floats(case, knobs)) <= LOCAL_BYTES else 0


def local_bytes(case: Any, knobs: Knobs) -> int:
    """What the slices' sums of a strip take; with a norm a number of each work-item, and a few."""
    return 4 * _floats(case, knobs)


def _floats(case: Any, knobs: Knobs) -> int:
    norm = knobs["WG"] + HEADS if case.normed else 0
    return rows(case, knobs) * sums(knobs) + norm


def depth(case: Any, knobs: Knobs) -> int:
    """K, of codes rounded up to whole runs."""
    if not case.w.bits:
        return int(case.K)
    codes = run(case, knobs) * 32 // case.w.bits
    return int(ceil_div(case.K, codes) * codes)
