"""Attention of one token in sub-groups: neighbours share a key, and sum its score by shuffles."""

from __future__ import annotations

from typing import Any

from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.kernel import Grid, Knobs, Requires

WIDEST = 16  # work-items that share a key: as many as a sub-group has at least with `shuffles`
HELD = 64  # floats of the result that a work-item holds in registers, and as many of queries
WORK_GROUP = 64  # the smallest

OPTIONS = ("-cl-std=CL2.0",)  # before it compilers need not know what a sub-group is
KNOBS = {"WG": (64, 128), "AHEAD": (4, 2)}


def cluster(case: Heads) -> int:
    """Work-items that share a key: one for every eight elements, but no more than WIDEST."""
    vectors = int(ceil_div(max(case.K, case.value_width), 8))
    return min(WIDEST, 1 << (vectors - 1).bit_length())


def head_sets(case: Heads) -> int:
    """Sets of heads of a K/V head whose work-items read the same keys at once."""
    sets = 1
    while _held(case, sets) > HELD and sets < case.H // case.G:
        sets *= 2
    return sets


def _held(case: Heads, sets: int) -> int:
    """Floats that a work-item with so many of the heads holds."""
    vectors = ceil_div(ceil_div(max(case.K, case.value_width), 8), cluster(case))
    return int(8 * vectors * ceil_div(case.H // case.G, sets))


def fits_registers(case: Heads) -> str | None:
    """Whether a work-group has room for all heads of a K/V head."""
    sets = head_sets(case)
    if _held(case, sets) <= HELD and cluster(case) * sets <= WORK_GROUP:
        return None
    return "its heads of a K/V head are too many or too wide for registers"


def defines(case: Heads, knobs: Knobs) -> Defines:
    """Who reads what."""
    return {**knobs, "CLUSTER": cluster(case), "HEAD_SETS": head_sets(case)}


def grid(case: Any, knobs: Knobs) -> Grid:
    """A work-group for each token (and split), K/V head and text."""
    groups = case.M // case.B * (case.SPLITS or 1)
    return (groups * knobs["WG"], case.G, case.B), (knobs["WG"], 1, 1)


def requires(case: Heads, knobs: Knobs) -> Requires:
    """Shuffles; local memory where streams of keys are joined: results, and each head's scores."""
    sets, shared = head_sets(case), cluster(case)
    heads = ceil_div(case.H // case.G, sets) * sets
    streams = knobs["WG"] // (shared * sets)
    floats = 8 * knobs["WG"] + 2 * heads * streams
    return Requires(features=("subgroups", "shuffles"), local_bytes=4 * floats)
