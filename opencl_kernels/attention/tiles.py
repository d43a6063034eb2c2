"""Attention over keys and values in halves, whose tiles the rows of a work-group share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.kernel import Grid, Knobs

LOCAL = 24576  # bytes that a work-group may take: phones have 32 KiB, compilers take some of it
SCORES, RESULTS = 32, 96  # floats of a work-item, at most: they are held in registers
LOAD = 12  # what reading a vector and making it floats costs, in products

DECODE_KNOBS = {"WG": (64, 128), "KEYS": (32, 16), "DEPTH": (16, 8)}
HALF_KNOBS = {**DECODE_KNOBS, "QROWS": (64, 32, 16)}


@dataclass(frozen=True)
class Tiles:
    """Who does what in a work-group, by the names of attention_half.cl."""

    case: Heads
    knobs: Knobs
    rows: int
    keys: int  # of a tile

    @cached_property
    def key_sets(self) -> int:
        """Work-items that share a row's keys: so many that few loads feed many products."""
        return min(_powers(1, min(self.keys, self.knobs["WG"])), key=self._cost_of_scores)

    @cached_property
    def across(self) -> int:
        """Work-items that share a row's values."""
        return min(_powers(1, self.knobs["WG"]), key=self._cost_of_values)

    @cached_property
    def held_rows(self) -> int:
        """QROWS: the rows, and perhaps a few of zeros."""
        sets = self.knobs["WG"] // self.key_sets
        return _up(self.rows, sets) * sets

    @property
    def values_at_once(self) -> int:
        """Values that find room where keys were, or one."""
        room, keys = self._depth * (self.keys + 1), self.keys
        return max(n for n in _powers(1, keys) if n == 1 or n * self._vectors <= room)

    @property
    def fits(self) -> bool:
        """Whether there is local memory for it, and registers for what each work-item sums."""
        scores = self.keys * self.held_rows // self.knobs["WG"]
        results = 8 * self._rows_of_values(self.across) * _up(self._vectors, self.across)
        return self.local_bytes <= LOCAL and scores <= SCORES and results <= RESULTS

    @property
    def local_bytes(self) -> int:
        """As the kernel declares them: queries, a tile, weights, the rest."""
        groups = self.knobs["WG"] // self.across
        places = groups * self._rows_of_values(self.across)
        tile = max(self._depth * (self.keys + 1), self.values_at_once * self._vectors)
        vectors = _up(self.case.K, 8) * self.held_rows + tile
        weights = self.keys * (_up(places, 4) | 1) * 4
        return 16 * vectors + 4 * (weights + (self.key_sets + 1) * places)

    @property
    def _vectors(self) -> int:
        return _up(self.case.value_width, 8)

    @property
    def _depth(self) -> int:
        return min(_up(self.case.K, 8), self.knobs["DEPTH"])

    def _rows_of_values(self, across: int) -> int:
        return _up(self.held_rows, self.knobs["WG"] // across)

    def _cost_of_scores(self, key_sets: int) -> int:
        """Of eight elements of a tile, and of finding its highest scores."""
        keys = self.keys // key_sets
        rows = _up(self.rows, self.knobs["WG"] // key_sets)
        return 8 * keys * rows + LOAD * (keys + rows) + (key_sets + keys) * rows // 4

    def _cost_of_values(self, across: int) -> int:
        """Of one key."""
        rows, own = self._rows_of_values(across), _up(self._vectors, across)
        return 8 * rows * own + LOAD * own + 4 * _up(rows, 4)


def _up(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def _powers(first: int, last: int) -> Iterator[int]:
    while first <= last:
        yield first
        first *= 2


def tiles(case: Heads, knobs: Knobs, prefill: bool = False) -> Tiles:
    """The most rows whose queries find local memory, and whose results find registers.

    QROWS at most; of one token so many of its heads that work-groups share them evenly, for which a
    tile has fewer keys rather than that keys were read by one more.
    """
    heads, most = case.H // case.G, knobs["KEYS"]
    rows = [*_powers(1, knobs["QROWS"])][::-1] if prefill else _even(heads)
    keys = (most,) if prefill else (most, max(1, most // 2))
    each = [Tiles(case, knobs, *sizes) for sizes in product(rows, keys)]
    return next((found for found in each if found.fits), each[-1])


def _even(heads: int) -> list[int]:
    """Of one work-group, of two, and so on."""
    return sorted({_up(heads, blocks) for blocks in range(1, heads + 1)}, reverse=True)


def half_defines(case: Heads, knobs: Knobs, prefill: bool = False) -> Defines:
    """How a work-group's rows are divided."""
    found = tiles(case, knobs, prefill)
    return {
        "WG": knobs["WG"],
        "KEYS": found.keys,
        "DEPTH": knobs["DEPTH"],
        "QROWS": found.held_rows,
        "KEY_SETS": found.key_sets,
        "ACROSS": found.across,
        "VALUES": found.values_at_once,
    }


def half_grid(case: Any, knobs: Knobs, prefill: bool = False) -> Grid:
    """A work-group for each block of rows that share a K/V head (and split), K/V head, and text."""
    held, tokens, heads = tiles(case, knobs, prefill).held_rows, case.M // case.B, case.H // case.G
    if prefill:
        blocks = ceil_div(tokens * heads, held)
    else:
        blocks = tokens * ceil_div(heads, held) * (case.SPLITS or 1)
    return (blocks * knobs["WG"], case.G, case.B), (knobs["WG"], 1, 1)
