"""A cache of records as a dictionary, told in words: what toolkit/offload's is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from toolkit.offload.policies import Policy
from toolkit.offload.record_cache import RecordCache


@dataclass
class Naive:
    """A cache as a dictionary record -> slot, in plain Python."""

    name: str
    slots: int
    pinned: int
    window: int
    importance: np.ndarray
    where: dict[int, int] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)

    def rank(self, record: int) -> float:
        if self.name in ("lru", "window"):
            return self.last.get(record, -1)
        count = self.counts.get(record, 0)
        if self.name == "importance":
            return float(np.float32(count) * np.float32(self.importance[record]))
        return count

    def put(self, record: int) -> tuple[int, int]:
        slot = min(set(range(self.slots)) - set(self.where.values()))
        self.where[record] = slot
        return record, slot

    def adapt(self, step: int, misses: int, selected: int) -> None:
        """As LLM in a flash has it: the window grows while it fits and helps."""

        def union(window: int) -> int:
            return sum(r >= self.pinned and t > step - window for r, t in self.last.items())

        room = self.slots - self.pinned
        if union(self.window + 1) <= room:
            self.window += misses > 0.05 * selected
        while self.window > 1 and union(self.window) > room:
            self.window -= 1

    def admit(
        self, selected: list[int], step: int, whole: bool
    ) -> tuple[list[int], list[int], list, list[int]]:
        hits = [record for record in selected if record in self.where]
        misses = [record for record in selected if record not in self.where]
        for record in selected:
            self.counts[record] = self.counts.get(record, 0) + 1
            if not whole:
                self.last[record] = step
        if self.name == "static":
            return hits, misses, [], []
        evicted = []
        others = {r for r in self.where if r not in selected and r >= self.pinned}
        old = {r for r in others if 0 <= self.last.get(r, -1) <= step - self.window}
        old = old if self.name == "window" else set()
        needed = len(misses) - (self.slots - len(self.where)) - len(old)
        for record in sorted(others, key=lambda r: (self.rank(r), r)):
            if record in old or needed > 0:
                needed -= record not in old
                del self.where[record]
                evicted.append(record)
        misses.sort(key=lambda r: (-self.rank(r), r))
        room = self.slots - len(self.where)
        admitted = [self.put(record) for record in misses[:room]]
        if not whole:
            self.adapt(step, len(misses), len(selected))
        return hits, sorted(misses[room:]), admitted, evicted


def masks(count: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """Records that are needed, the first ones most often; sometimes all or none."""
    rng = np.random.default_rng([count, seed])
    for step in range(steps):
        share = (0.15, 0.4, 0.0, 1.0)[rng.choice(4, p=(0.6, 0.3, 0.05, 0.05))]
        likely = share * 2 / (1 + 3 * np.arange(count) / count)
        yield np.flatnonzero(rng.random(count) < (likely if step % 7 else share))


def opened(
    one: Policy, count: int, slots: int, pinned: int, seed: int
) -> tuple[RecordCache, Naive]:
    importance = np.random.default_rng(seed).random(count).astype(np.float32)
    cache = RecordCache(count, one, importance)
    cache.resize(slots, pinned)
    naive = Naive(one.name, slots, pinned, 3, importance)
    naive.where = {record: record for record in range(pinned)}
    return cache, naive


def holds(cache: RecordCache) -> dict[int, int]:
    return {int(r): int(cache.slot_of[r]) for r in np.flatnonzero(cache.slot_of >= 0)}
