"""The slots of a table: which record lies where, what comes and what goes.

No memory is moved or allocated between tokens, and nothing is random: the runner's record_cache.cpp
agrees to the last entry. Records are numbers in the table's own order, most frequent first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.offload.policies import NEVER, Floats32, Ints, Policy, Uses, adapted

FREE = -1  # in a slot; of a record: it has none
NONE: Ints = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Admission:
    """What a step does to a cache. Record numbers, ascending where nothing else is said."""

    hits: Ints  # needed and resident before
    admitted: Ints  # [n, 2] (record, slot), in the order of admission: slots ascend
    streamed: Ints  # needed, neither resident nor admitted
    evicted: Ints  # in the order of eviction: by (rank, record)


@dataclass(frozen=True)
class Resize:
    """What a change of size does to a cache: in this order."""

    evicted: Ints  # by (rank, record); of a table that lies in memory whole, what lay elsewhere
    moved: Ints  # [n, 2] (record, new slot): those above the new end, in the order of their slots
    admitted: Ints  # [n, 2] (record, slot): pinned now, and not resident before


class RecordCache:
    """A table's slots, empty at first. Records below `pinned` never leave.

    window  steps: under a policy that expires, what none of them needed leaves
    """

    def __init__(self, count: int, policy: Policy, importance: Floats32 | None = None) -> None:
        self.policy, self.pinned, self.window = policy, 0, 1
        self.uses = Uses(count, importance)
        self.slot_of = np.full(count, FREE, np.int64)
        self.record_in = NONE

    @property
    def slots(self) -> int:
        """How many records it has room for."""
        return len(self.record_in)

    def admit(self, selected: Ints, step: int, whole: bool = False) -> Admission:
        """Note the records that a step needs (ascending, each once) and make room for them.

        whole  they are all, whatever the text
        """
        self.uses.note(selected, step, whole)
        resident = self.slot_of[selected] != FREE
        hits, misses = selected[resident], selected[~resident]
        if not self.policy.admits:
            return Admission(hits, _pairs(NONE, NONE), misses, NONE)
        evicted = self._victims(selected, len(misses), step - self.window)
        self._drop(evicted)
        best = misses[np.argsort(-self.policy.rank(self.uses, misses), kind="stable")]
        admitted = self._place(best)
        if self.policy.expires and not whole:
            last, room = self.uses.last[self.pinned :], self.slots - self.pinned
            self.window = adapted(self.window, last, step, room, len(misses), len(selected))
        return Admission(hits, admitted, np.sort(best[len(admitted) :]), evicted)

    def resize(self, slots: int, pinned: int) -> Resize:
        """Another number of slots, and of pinned records (as many as there is room for).

        Where all are pinned, each lies in the slot of its number: a device finds it there itself.
        """
        self.pinned = min(pinned, slots)
        first = np.arange(self.pinned)
        astray = self._astray() if self.pinned == len(self.slot_of) else NONE
        self._drop(astray)
        missing = first[self.slot_of[first] == FREE]
        held = np.sort(self.record_in[self.record_in != FREE])
        leaving = max(0, len(held) + len(missing) - slots)
        evicted = self._ranked(held[held >= self.pinned])[:leaving]
        self._drop(evicted)
        evicted = np.concatenate([astray, evicted])
        moving = self.record_in[slots:][self.record_in[slots:] != FREE]
        self._drop(moving)
        kept = self.record_in[:slots]
        self.record_in = np.concatenate([kept, np.full(slots - len(kept), FREE)])
        return Resize(evicted, self._place(moving), self._place(missing))

    def open(self, records: Ints) -> Ints:
        """At the start: as many of these records as there are free slots for, the first ones.

        They count as used once; a policy that keeps to what is pinned takes none. Returns [n, 2]
        (record, slot), both ascending.
        """
        if not self.policy.admits:
            return _pairs(NONE, NONE)
        free = int((self.record_in == FREE).sum())
        chosen = np.sort(records[self.slot_of[records] == FREE][:free])
        self.uses.note(chosen, NEVER, whole=True)
        return self._place(chosen)

    def by_worth(self) -> Ints:
        """What is resident: first what is pinned, last what would leave first."""
        held = np.sort(self.record_in[self.record_in != FREE])
        others = held[held >= self.pinned]
        ranked = others[np.argsort(-self.policy.rank(self.uses, others), kind="stable")]
        return np.concatenate([held[held < self.pinned], ranked])

    def lose(self, records: Ints) -> None:
        """These were to be read and never came: they are in no slot."""
        self._drop(records[self.slot_of[records] != FREE])

    def _victims(self, selected: Ints, misses: int, expired: int) -> Ints:
        """What leaves for so many misses, and what was last needed at step `expired` or before."""
        chosen = np.zeros(len(self.slot_of), bool)
        chosen[selected] = True
        held = self.record_in[self.record_in >= self.pinned]  # a free slot is below any record
        candidates = np.sort(held[~chosen[held]])
        leaving = max(0, misses - int((self.record_in == FREE).sum()))
        if self.policy.expires:
            return self._expired(self._ranked(candidates), leaving, expired)
        return self._ranked(candidates)[:leaving] if leaving else NONE

    def _expired(self, ranked: Ints, leaving: int, expired: int) -> Ints:
        """What has expired, and if that is too little the first others: what never was selected."""
        last = self.uses.last[ranked]
        old = (last != NEVER) & (last <= expired)
        others = np.cumsum(~old)
        found: Ints = ranked[old | (others <= leaving - int(old.sum()))]
        return found

    def _astray(self) -> Ints:
        """Records in another slot than that of their number."""
        own = np.arange(len(self.slot_of))
        return np.flatnonzero((self.slot_of != FREE) & (self.slot_of != own))

    def _ranked(self, records: Ints) -> Ints:
        """By (rank, record), of ascending records."""
        return records[np.argsort(self.policy.rank(self.uses, records), kind="stable")]

    def _drop(self, records: Ints) -> None:
        self.record_in[self.slot_of[records]] = FREE
        self.slot_of[records] = FREE

    def _place(self, records: Ints) -> Ints:
        """As many as there are free slots for, each into the lowest: pairs (record, slot)."""
        free = np.flatnonzero(self.record_in == FREE)[: len(records)]
        placed = records[: len(free)]
        self.record_in[free] = placed
        self.slot_of[placed] = free
        return _pairs(placed, free)


def _pairs(records: Ints, slots: Ints) -> Ints:
    return np.stack([records, slots], axis=1)
