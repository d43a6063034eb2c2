"""Whether a table's prefetches are worth their reads: how many of their records were needed.

They are counted by group, the surest first: where few of them are needed fewer are read, and more
where more are needed. The runner's android_runner/offload/machine.h counts alike. Nothing of it
hangs on time: what is read ahead is the same in each run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from toolkit.offload.policies import Ints
from toolkit.offload.record_cache import NONE

AT_ONCE = 4  # records of a prefetch, at most, whose reads belong together
TRIED = 16  # in one of so many steps, what isn't worth it is read all the same
WORTH = 3  # records of a group, of which at least one is to be needed
WEIGHT = 16  # records at least that a group's counts are of
MEMORY = 256  # records of which they are halved


@dataclass
class Group:
    """Records that were read, and those of them that were needed."""

    read: int = 0
    needed: int = 0

    @property
    def poor(self) -> bool:
        """Whether that isn't worth it."""
        return self.read >= WEIGHT and WORTH * self.needed < self.read

    def note(self, needed: bool) -> None:
        """Of one more record."""
        self.read, self.needed = self.read + 1, self.needed + needed
        if self.read > MEMORY:
            self.read, self.needed = self.read // 2, self.needed // 2


@dataclass
class Foresight:
    """Of one table: what was read ahead and no gather has asked for yet, and counts of those.

    records  in groups of AT_ONCE, the surest first
    groups   the surest first
    """

    records: Ints = field(default_factory=NONE.copy)
    groups: list[Group] = field(default_factory=list)

    def most(self, wanted: int, step: int) -> int:
        """Records to read ahead: those in front of the first group that isn't worth it."""
        poor = next((i for i, each in enumerate(self.groups) if each.poor), None)
        return wanted if poor is None or step % TRIED == 0 else min(wanted, AT_ONCE * poor)

    def found(self, misses: Ints) -> Ints:
        """Those of a gather's misses that were read ahead, ascending; the others are forgotten."""
        records, self.records = self.records, NONE
        needed = np.isin(records, misses)
        for i, each in enumerate(needed.tolist()):
            if i // AT_ONCE == len(self.groups):
                self.groups.append(Group())
            self.groups[i // AT_ONCE].note(each)
        return np.sort(records[needed])
