"""Whether a table's prefetches are worth their reads: how many of its records were needed.

The runner's android_runner/offload/foresight.h counts alike. Nothing of it hangs on time: what is
read ahead is the same in each run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from toolkit.offload.policies import Ints
from toolkit.offload.record_cache import NONE

TRIED = 16  # in one of so many steps, what isn't worth it is read all the same
WEIGHT = 16  # records at least that counts are of
MEMORY = 1024  # records of which counts are halved


@dataclass
class Foresight:
    """Of one table: what was read ahead and no gather has asked for yet, and counts of those."""

    records: Ints = field(default_factory=NONE.copy)  # ascending
    read: int = 0  # records
    needed: int = 0  # of these

    def most(self, wanted: int, step: int) -> int:
        """Records to read ahead: none where fewer than half of them would be needed."""
        poor = self.read >= WEIGHT and 2 * self.needed < self.read
        return 0 if poor and step % TRIED else wanted

    def found(self, misses: Ints) -> Ints:
        """Those of a gather's misses that were read ahead; the others are forgotten."""
        if not len(self.records):
            return NONE
        found = np.intersect1d(misses, self.records)
        self.read += len(self.records)
        self.needed += len(found)
        if self.read > MEMORY:
            self.read, self.needed = self.read // 2, self.needed // 2
        self.records = NONE
        return found
