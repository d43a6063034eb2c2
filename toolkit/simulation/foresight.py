"""The cache that knows what comes: no other of its size misses less (Belady's MIN).

It may leave what is needed now out of memory (it is streamed), and keeps of all that it has seen
what is needed soonest. Before the first step it has the records that are needed first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.offload.policies import Ints, policy
from toolkit.offload.record_cache import FREE, NONE, Admission, RecordCache

NEVER_AGAIN = np.iinfo(np.int64).max


class Foresight(RecordCache):
    """The slots of a table, for steps that are known beforehand; no record is pinned."""

    def __init__(self, count: int, slots: int, selections: Sequence[Ints]) -> None:
        """`selections`: the records of each admission that will follow, in their order."""
        super().__init__(count, policy("lru"))
        self.resize(slots, 0)
        self._next = np.full(count, NEVER_AGAIN, np.int64)  # admission in which it is needed next
        self._after: list[Ints] = []  # by admission, of its records
        for number in range(len(selections) - 1, -1, -1):
            self._after.insert(0, self._next[selections[number]])
            self._next[selections[number]] = number
        self._keep(np.flatnonzero(self._next < NEVER_AGAIN))
        self._done = 0

    def admit(self, selected: Ints, step: int, whole: bool = False) -> Admission:
        """As of RecordCache; a hit may be evicted when it has been used."""
        self._next[selected] = self._after[self._done]
        self._done += 1
        resident = self.slot_of[selected] != FREE
        hits, misses = selected[resident], selected[~resident]
        evicted, admitted = self._keep(misses)
        streamed = np.setdiff1d(misses, admitted[:, 0])
        return Admission(hits, admitted, streamed, evicted)

    def _keep(self, more: Ints) -> tuple[Ints, Ints]:
        """Of what is held and of these, what is needed soonest: evicted, and pairs of admitted."""
        held = np.sort(self.record_in[self.record_in != FREE])
        every = np.concatenate([held, more])
        soonest = every[np.argsort(self._next[every], kind="stable")][: self.slots]
        kept = soonest[self._next[soonest] < NEVER_AGAIN]
        evicted = np.setdiff1d(held, kept)
        self._drop(evicted)
        arriving = np.intersect1d(more, kept)
        return evicted, self._place(arriving) if len(arriving) else NONE.reshape(0, 2)
