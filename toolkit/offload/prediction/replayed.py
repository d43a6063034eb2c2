"""What tokens of a text read of a table whose first records lie in memory: counted, not expected.

The reads are those of the machine (coalesce.py), made for all tokens at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.offload.policies import Ints
from toolkit.offload.prediction.reads import Reads
from toolkit.plan.schema import PAGE, Point, Table

Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Replayed:
    """Tokens of a text; `selected` bool [T, count]: which records each of them needs."""

    table: Table
    selected: Bools

    @property
    def needed(self) -> float:
        """Records of a token, a mean."""
        return float(self.selected.sum()) / max(1, len(self.selected))

    def reads(self, resident: int, point: Point) -> Reads:
        """Where the first `resident` records lie in memory; `point` says how reads are made."""
        tokens, records = self._pairs
        missed = records >= resident
        tokens, records = tokens[missed], records[missed]
        if not len(records):
            return Reads(0.0)
        starts = self.table.offset + records * self.table.stride
        begins, ends = starts // PAGE * PAGE, -(-(starts + self.table.bytes) // PAGE) * PAGE
        firsts = _firsts(tokens, begins, ends, point)
        lasts = np.append(firsts[1:], len(records)) - 1
        straddles = PAGE if self.table.stride % PAGE else 0
        lengths, counts = _cut(ends[lasts] - begins[firsts], point.max_read, straddles)
        share = 1 / len(self.selected)
        return Reads(len(records) * share, lengths, counts * share)

    @cached_property
    def _pairs(self) -> tuple[Ints, Ints]:
        """Token and record of each need, by token, then record."""
        tokens, records = np.nonzero(self.selected)
        return tokens.astype(np.int64), records.astype(np.int64)


def _firsts(tokens: Ints, begins: Ints, ends: Ints, point: Point) -> Ints:
    """Where reads begin: at another token, behind a gap, and at each cluster."""
    another = np.ones(len(tokens), bool)
    another[1:] = tokens[1:] != tokens[:-1]
    places = np.arange(len(tokens))
    of_token = places - np.maximum.accumulate(np.where(another, places, 0))
    fresh = another | (of_token % point.cluster == 0)
    fresh[1:] |= begins[1:] - ends[:-1] > point.gap
    return np.flatnonzero(fresh)


def _cut(lengths: Ints, most: int, again: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each length once, and how many reads have it; one that is too long is whole ones and a rest.

    The machine cuts at records, which makes pieces a little shorter than the most.

    again  bytes that are read twice at a cut: the page that a record begins in
    """
    cuts = -(-lengths // most) - 1
    whole, rest = np.divmod(lengths + again * cuts, most)
    found = np.append(rest[rest > 0], most)
    sizes, counts = np.unique(found, return_counts=True)
    many = counts.astype(np.float64)
    many[np.searchsorted(sizes, most)] += whole.sum() - 1
    kept = many > 0
    return sizes[kept].astype(np.float64), many[kept]
