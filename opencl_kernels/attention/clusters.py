"""Attention of one token in sub-groups: neighbours share a key, and sum its score by shuffles."""

from __future__ import annotations

from itertools import product
from typing import Any

from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.kernel import Grid, Knobs, Requires

WIDEST = 16  # work-items that share a key: as many as a sub-group has at least with `shuffles`
HELD = 64  # floats of the result that a work-item holds at most, and as many of queries
OTHERS = 17  # registers besides: where keys and values lie, which item this is
LINE = 64  # bytes; a register of a wave of WIDEST takes as many
WORK_GROUP = 64  # the smallest

OPTIONS = ("-cl-std=CL2.0",)  # before it compilers need not know what a sub-group is
KNOBS = {"WG": (64, 128), "AHEAD": (4, 2), "REGISTERS": (256, 64)}


def cluster(case: Heads) -> int:
    """Work-items that share a key: one for every eight elements, but no more than WIDEST."""
    return min(WIDEST, 1 << (_vectors(case) - 1).bit_length())


def head_sets(case: Heads, knobs: Knobs) -> int:
    """Sets of heads of a K/V head whose work-items read the same keys at once."""
    return _divided(case, knobs)[0]


def _divided(case: Heads, knobs: Knobs) -> tuple[int, int]:
    """Sets of heads, and keys that a work-item asks for at once: those that read the fewest lines.

    Work-items may not hold what they sum for all heads; the fewer each has, the more waves read a
    key.
    """
    ahead = (knobs["AHEAD"] >> n for n in range(knobs["AHEAD"].bit_length()))
    return min(product(_sets(case), ahead), key=lambda each: _lines(case, knobs, *each))


def _sets(case: Heads) -> list[int]:
    """How many there can be, the fewest first."""
    most = max(1, HELD // _floats(case))
    return sorted({int(ceil_div(case.H // case.G, heads)) for heads in range(1, most + 1)})


def _lines(case: Heads, knobs: Knobs, sets: int, ahead: int) -> float:
    """That waves read for a key: its own and its value's, and in each turn, for `ahead` keys, a
    line for each register that there is not."""
    heads, items = int(ceil_div(case.H // case.G, sets)), cluster(case) * sets
    registers = 2 * heads * (_floats(case) + 1) + ahead * _floats(case) + OTHERS
    again = max(0, registers - knobs["REGISTERS"])
    keys = ahead * max(1, WIDEST // items)
    return int(ceil_div(items, WIDEST)) * (2 * (case.K + case.value_width) / LINE + again / keys)


def _vectors(case: Heads) -> int:
    return int(ceil_div(max(case.K, case.value_width), 8))


def _floats(case: Heads) -> int:
    """Of a head that a work-item holds."""
    return 8 * int(ceil_div(_vectors(case), cluster(case)))


def fits_registers(case: Heads) -> str | None:
    """Whether a work-group has room for all heads of a K/V head."""
    if _floats(case) <= HELD and cluster(case) * min(_sets(case)) <= WORK_GROUP:
        return None
    return "its heads of a K/V head are too many or too wide for registers"


def work_group(case: Heads, knobs: Knobs) -> int:
    """Work-items: WG, or fewer for whole sets, or those of one key where these are more."""
    of_key = cluster(case) * head_sets(case, knobs)
    return of_key * max(1, knobs["WG"] // of_key)


def defines(case: Heads, knobs: Knobs) -> Defines:
    """Who reads what."""
    sets, ahead = _divided(case, knobs)
    items = {"WG": work_group(case, knobs), "CLUSTER": cluster(case), "HEAD_SETS": sets}
    return {**items, "AHEAD": ahead}


def grid(case: Any, knobs: Knobs) -> Grid:
    """A work-group for each token (and split), K/V head and text."""
    groups, items = case.M // case.B * (case.SPLITS or 1), work_group(case, knobs)
    return (groups * items, case.G, case.B), (items, 1, 1)


def requires(case: Heads, knobs: Knobs) -> Requires:
    """Shuffles; local memory where streams of keys are joined: results, and each head's scores."""
    sets, items = head_sets(case, knobs), work_group(case, knobs)
    heads = ceil_div(case.H // case.G, sets) * sets
    streams = items // (cluster(case) * sets)
    return Requires(
        features=("subgroups", "shuffles"), local_bytes=4 * (8 * items + 2 * heads * streams)
    )
