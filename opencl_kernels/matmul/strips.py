"""How kernels of GPUs go over a weight for few rows: by strips of 32 outputs (strips.clh)."""

from __future__ import annotations

from typing import Any

import sympy

from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.formats import STRIP
from opencl_kernels.kernel import Knobs


def count(outputs: int) -> int:
    """Strips of a weight."""
    return int(ceil_div(outputs, STRIP))


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
