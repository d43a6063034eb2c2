"""How kernels of GPUs go over a weight for few rows: by strips of 32 outputs (strips.clh)."""

from __future__ import annotations

from typing import Any

import sympy

from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.formats import STRIP
from opencl_kernels.kernel import Knobs

FEWEST_GROUPS = 32  # work-groups that keep a phone's GPU busy
HEADS = 8  # floats of local memory beside one of each work-item: sums of a norm (gemv_rows.clh)


def count(outputs: int) -> int:
    """Strips of a weight."""
    return int(ceil_div(outputs, STRIP))


def together(outputs: int, normed: bool, knobs: Knobs) -> int:
    """Strips that a work-group does, one after the other: STRIPS, or more with a norm.

    That is every work-group's own: up to four strips share one as long as FEWEST_GROUPS are left.
    """
    most = count(outputs) // FEWEST_GROUPS if normed else 1
    return max(knobs["STRIPS"], 4 if most >= 4 else 2 if most >= 2 else 1)


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


def depth(case: Any, knobs: Knobs) -> int:
    """K, rounded up to whole runs."""
    codes = run(case, knobs) * 32 // case.w.bits
    return int(ceil_div(case.K, codes) * codes)
