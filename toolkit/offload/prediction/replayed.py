"""What tokens of a text read of a table whose first records lie in memory: counted, not expected.

The reads are those of the machine (coalesce.py), made for all tokens at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.offload.coalesce import cut
from toolkit.offload.policies import Ints
from toolkit.offload.prediction.reads import Reads
from toolkit.plan.schema import PAGE, Point, Table

Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Replayed:
    """Tokens of a text; `selected` bool [T, count]: which records each of them needs."""

    table: Table
    selected: Bools

    @cached_property
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
        lengths = ends[lasts] - begins[firsts]
        long = lengths > point.max_read
        if long.any():
            pieces = cut(begins, ends, firsts[long], lasts[long], point.max_read)
            lengths = np.append(lengths[~long], ends[pieces[1]] - begins[pieces[0]])
        each, counts = np.unique(lengths, return_counts=True)
        share = 1 / len(self.selected)
        return Reads(len(records) * share, each.astype(np.float64), share * counts.astype(float))

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
