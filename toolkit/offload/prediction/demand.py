"""How a token needs the records of a table, and so what it will read of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from toolkit.offload.flash_model import Floats
from toolkit.offload.policies import Floats32
from toolkit.offload.prediction.expected import expected_reads
from toolkit.offload.prediction.preferred import Preferred
from toolkit.offload.prediction.reads import Reads
from toolkit.offload.prediction.replayed import Replayed
from toolkit.plan.schema import Point, Table

NOISE = 0.05  # of a ratio that some hundreds of tokens tell: less says nothing
# By policy the column of `recurring` that tells its misses: of those that are not replayed, the
# column of one that is like it. What is used last is missed no more often than in a window.
RECURRING = {"lfu": 1, "importance": 1, "window": 2, "lru": 2}
PINNED = 0.5  # a record that is selected in more tokens is never evicted


@dataclass(frozen=True)
class Demand:
    """How a token needs a table.

    frequency  by record: in which share of tokens it is selected; descending
    recurring  misses of a cache that keeps what was used most often, and of one that keeps a window
               of tokens, per miss of one whose records never change, by the share of the table that
               has slots: [n, 3] (share, ratios), ascending; of older calibrations without the
               window; None: not known
    replayed   tokens of a text that the frequencies don't come from; None: records are taken to be
               needed independently of each other
    scored     the host looks at a score of each record; not where ids say which are needed
    spare      more than what is selected may be computed, by a device that works while the host
               looks at scores
    shares     of records that may lie in memory: (least, most), ascending
    """

    table: Table
    frequency: Floats
    recurring: Floats32 | None = None
    replayed: Replayed | Preferred | None = None
    scored: bool = True
    spare: bool = False
    shares: Sequence[tuple[float, float]] = ((0.0, 1.0),)
    _known: dict[tuple[int, ...], Reads] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def needed(self) -> float:
        """Records of a token, a mean."""
        return float(self.frequency.sum()) if self.replayed is None else self.replayed.needed

    def tells_of(self, policy: str) -> bool:
        """Whether it is known what a policy that admits misses."""
        return self.recurring is not None and RECURRING[policy] < self.recurring.shape[1]

    @property
    def looked_at(self) -> int:
        """Records that the host chooses among."""
        return self.table.count if self.scored else 0

    def most(self, slots: int) -> int:
        """How many slots there may be, not fewer than these; less than these: not even they."""
        share = slots / self.table.count
        end = next((high for low, high in self.shares if low <= share <= high), -1.0)
        return int(end * self.table.count + 1e-6)

    def reads(self, slots: int, point: Point) -> Reads:
        """With so many slots under the point's policy."""
        found = self._of_first(slots, point)
        if point.policy == "static" or not self.tells_of(point.policy):
            return found
        assert self.recurring is not None
        shares, ratios = self.recurring[:, 0], self.recurring[:, RECURRING[point.policy]]
        ratio = float(np.interp(slots / self.table.count, shares, ratios))
        return found.times(ratio if ratio < 1 - NOISE else max(1.0, ratio))

    def _of_first(self, slots: int, point: Point) -> Reads:
        """Where the first records never leave."""
        key = (slots, point.gap, point.max_read, point.cluster)
        if key not in self._known:
            if self.replayed is not None:
                self._known[key] = self.replayed.reads(slots, point)
            else:
                self._known[key] = expected_reads(self.table, self.frequency, slots, point)
        return self._known[key]
