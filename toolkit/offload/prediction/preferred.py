"""What tokens of a text read of a table of which each takes the greatest, what is near counting
more: which these are hangs on how many records lie in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from toolkit.offload.prediction.reads import Reads
from toolkit.offload.prediction.replayed import Replayed
from toolkit.offload.selection import Array, top_rows
from toolkit.plan.schema import Point, Table


@dataclass(frozen=True)
class Preferred:
    """Tokens of a text; `sizes` f32 [T, count]: magnitudes by record, by which each takes k.

    gamma  what the magnitude counts of what isn't in memory
    """

    table: Table
    sizes: Array
    k: int
    gamma: float = 1.0
    _known: dict[int, Replayed] = field(default_factory=dict, compare=False, repr=False)

    @property
    def needed(self) -> float:
        """Records of a token."""
        return float(min(self.k, self.table.count))

    def reads(self, resident: int, point: Point) -> Reads:
        """Where the first `resident` records lie in memory; `point` says how reads are made."""
        return self._taken(resident).reads(resident, point)

    def _taken(self, resident: int) -> Replayed:
        """Where so many count in full."""
        key = 0 if self.gamma == 1 else resident
        if key not in self._known:
            worth = np.where(np.arange(self.table.count) < resident, 1, self.gamma)
            taken = top_rows(self.sizes * worth.astype(np.float32), self.k)
            self._known[key] = Replayed(self.table, taken)
        return self._known[key]
