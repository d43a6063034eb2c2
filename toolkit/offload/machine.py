"""The machine that decides what a gather reads and computes, without weights.

For each gather: select by the scores, look up the cache, admit, make reads of the misses, cut them
into clusters. The runner's android_runner/offload/ decides the same, entry for entry; executors
add memory, reads and kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.offload.coalesce import Runs, coalesce
from toolkit.offload.flash_model import Flash
from toolkit.offload.policies import Floats32, Ints, policy
from toolkit.offload.record_cache import NONE, RecordCache, Resize
from toolkit.offload.selection import Array, select
from toolkit.plan.schema import Point, Select, Table


@dataclass(frozen=True)
class Launch:
    """One launch of a gather's dispatches: records by their slots, or by places in staging."""

    staged: bool
    records: Ints  # ascending
    slots: Ints  # of the table's memory; of staging, counted from the cluster's first


@dataclass(frozen=True)
class Cluster:
    """Reads that are waited for together, and what is computed then.

    The first of a gather has no runs: it is what was resident. A gather that selects nothing
    still launches once, over no record, since sums must begin at 0.
    """

    runs: tuple[int, int]  # first and end among the outcome's runs
    launches: tuple[Launch, ...]  # those of slots, then the one of staging; none is empty


@dataclass(frozen=True)
class Outcome:
    """What a gather does. Everything is in record numbers."""

    selected: Ints  # ascending
    hits: Ints  # ascending
    admitted: Ints  # [n, 2] (record, slot), in the order of admission
    streamed: Ints  # ascending
    evicted: Ints  # in the order of eviction
    runs: Ints  # [n, 2] (offset, bytes), ascending
    clusters: tuple[Cluster, ...]
    seconds: float  # of the reads, if nothing else is read meanwhile
    bytes_read: int
    bytes_used: int


@dataclass(frozen=True)
class Change:
    """What another point does to a table."""

    moves: Resize
    runs: Ints  # [n, 2] (offset, bytes): records that are pinned now
    seconds: float


class Machine:
    """Caches of all tables under one point.

    Args:
        tables: Of the plan.
        point: Pinned records are read at once: `opening` tells how, by table.
        flash: Tells the seconds.
        orders: By table, the index of each record; None where they are the same.
        importance: By table, f32 by record; see Uses.
        window: Steps, of the policy of that name. `window` may be set anew between gathers.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        point: Point,
        flash: Flash,
        orders: Sequence[Ints | None] = (),
        importance: Sequence[Floats32 | None] = (),
        window: int = 1,
    ) -> None:
        self.tables, self.flash, self.window = tables, flash, window
        kinds = [*importance, *[None] * len(tables)]
        self.caches = [
            RecordCache(table.count, policy(point.policy), kinds[number])
            for number, table in enumerate(tables)
        ]
        given = [*orders, *[None] * len(tables)]
        self._orders = [
            np.arange(table.count) if order is None else np.asarray(order, np.int64)
            for table, order in zip(tables, given, strict=False)
        ]
        self._record_of = [np.argsort(order) for order in self._orders]
        self.opening = self.change(point)

    def change(self, point: Point) -> tuple[Change, ...]:
        """Another point from the next gather on; what was used how often is kept."""
        self.point = point
        return tuple(self._resize(number) for number in range(len(self.tables)))

    def gather(
        self, number: int, rule: Select, scores: Array | None, step: int, tile: int = 0
    ) -> Outcome:
        """What a gather of this table does at this step.

        Args:
            number: Of the table.
            rule: Selects indices.
            scores: By index, as `select` takes them.
            step: Of the text's tokens, counted from 0; not less than that of the last gather.
            tile: The most records of a launch; 0: clusters are of the point's size, and what is
                resident is one launch.
        """
        table, cache = self.tables[number], self.caches[number]
        resident = cache.slot_of[self._record_of[number]] >= 0
        indices = select(rule, scores, table.count, resident)
        selected = np.sort(self._record_of[number][indices])
        done = cache.admit(selected, step, self.window)
        misses = np.sort(np.concatenate([done.admitted[:, 0], done.streamed]))
        most = tile or self.point.cluster
        runs = self._runs(table, misses, most)
        first = Cluster((0, 0), _resident(done.hits, cache.slot_of, tile, not len(selected)))
        later = [
            Cluster(_within(runs, at, at + most), _missed(misses[at : at + most], cache.slot_of))
            for at in range(0, len(misses), most)
        ]
        return Outcome(
            selected,
            done.hits,
            done.admitted,
            done.streamed,
            done.evicted,
            runs.spans,
            (first, *later),
            self._seconds(runs.spans),
            runs.bytes,
            len(misses) * table.bytes,
        )

    def indices(self, number: int, records: Ints) -> Ints:
        """The index of each record."""
        return self._orders[number][records]

    def _resize(self, number: int) -> Change:
        cache, point, table = self.caches[number], self.point, self.tables[number]
        cache.policy = policy(point.policy)
        moves = cache.resize(point.slots[number], point.pinned[number])
        spans = self._runs(table, moves.admitted[:, 0], max(1, table.count)).spans
        return Change(moves, spans, self._seconds(spans))

    def _runs(self, table: Table, records: Ints, most: int) -> Runs:
        starts = table.offset + records * table.stride
        return coalesce(starts, table.bytes, self.point.gap, self.point.max_read, most)

    def _seconds(self, spans: Ints) -> float:
        """Of one batch. A read that begins no later than the one before it ended is sequential."""
        if not len(spans):
            return 0.0
        follows = np.zeros(len(spans), bool)
        follows[1:] = spans[1:, 0] <= spans[:-1].sum(axis=1)
        times = [
            self.flash.seconds(spans[at, 1], order).sum()
            for at, order in ((~follows, "random"), (follows, "sequential"))
        ]
        return float(sum(times)) + self.flash.latency


def _resident(hits: Ints, slot_of: Ints, tile: int, nothing: bool) -> tuple[Launch, ...]:
    """Launches of what was resident, `tile` records each."""
    if nothing:
        return (Launch(False, NONE, NONE),)
    each = tile or max(1, len(hits))
    parts = [hits[at : at + each] for at in range(0, len(hits), each)]
    return tuple(Launch(False, part, slot_of[part]) for part in parts)


def _missed(records: Ints, slot_of: Ints) -> tuple[Launch, ...]:
    """The launch of what has been admitted, and that of what lies in staging."""
    slots = slot_of[records]
    admitted, streamed = records[slots >= 0], records[slots < 0]
    launches = (
        Launch(False, admitted, slots[slots >= 0]),
        Launch(True, streamed, np.arange(len(streamed))),
    )
    return tuple(launch for launch in launches if len(launch.records))


def _within(runs: Runs, first: int, end: int) -> tuple[int, int]:
    """The runs of the misses from `first` up to `end`."""
    begin, stop = np.searchsorted(runs.firsts, [first, end])
    return int(begin), int(stop)
