"""What a token reads of a table, as a mean over tokens: records that are missed, and reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.offload.flash_model import Flash, Floats

NOTHING: Floats = np.zeros(0)


@dataclass(frozen=True)
class Reads:
    """Of a token, each a mean.

    misses   records that are missed
    lengths  bytes of reads, each length once; `counts`: how many there are of each
    """

    misses: float
    lengths: Floats = field(default_factory=lambda: NOTHING)
    counts: Floats = field(default_factory=lambda: NOTHING)

    @classmethod
    def alike(cls, count: float, nbytes: int) -> Reads:
        """So many of the same size, of records that nothing misses."""
        return cls(0.0, np.array([float(nbytes)]), np.array([count]))

    @property
    def requests(self) -> float:
        """Reads."""
        return float(self.counts.sum())

    @property
    def bytes(self) -> float:
        """Of all reads."""
        return float(self.counts @ self.lengths)

    def times(self, ratio: float) -> Reads:
        """So many times as many."""
        return Reads(ratio * self.misses, self.lengths, ratio * self.counts)

    def seconds(self, flash: Flash) -> float:
        """Of one batch."""
        if not len(self.counts):
            return 0.0
        each = self.counts @ flash.seconds(self.lengths)
        return float(each) + min(1.0, self.misses) * flash.latency


def added(parts: Sequence[Reads]) -> Reads:
    """Of several tables."""
    lengths = np.concatenate([NOTHING, *(part.lengths for part in parts)])
    counts = np.concatenate([NOTHING, *(part.counts for part in parts)])
    return Reads(sum(part.misses for part in parts), lengths, counts)
