"""The machine that decides what a gather reads and computes, without weights.

For each gather: select by the scores, look up the cache, admit, make reads of the misses, cut them
into clusters. The runner's android_runner/offload/ decides the same, entry for entry; executors
add memory, reads and kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from toolkit.offload.clusters import Cluster, at_once, clusters
from toolkit.offload.coalesce import Runs, coalesce
from toolkit.offload.flash_model import Flash
from toolkit.offload.policies import Floats32, Ints, policy
from toolkit.offload.prediction.foresight import AT_ONCE, Foresight
from toolkit.offload.record_cache import FREE, NONE, RecordCache, Resize
from toolkit.offload.selection import Array, compared, select
from toolkit.plan.arena import round_up
from toolkit.plan.schema import DENSE, PAGE, Point, Select, Table


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
    ahead: Ints = field(
        default_factory=NONE.copy
    )  # of the missing: those that a prefetch has read, ascending
    dense: int = 0  # records, the first ones, that are computed in any case
    glimpse: Glimpse | None = None  # what was read before
    left: Ints = field(default_factory=NONE.copy)  # of its records: nothing more is read of them


@dataclass(frozen=True)
class Glimpse:
    """What a gather reads first, of records that are missing. It changes no cache.

    Of PowerInfer-2's two phases (section 4.2) it is the first one: the gates of neurons.
    """

    selected: Ints  # ascending
    records: Ints  # of these, those of which the first parts are read; ascending
    runs: Runs
    seconds: float  # of the reads, if nothing else is read meanwhile
    spared: int  # bytes of a record that aren't read where it is left


@dataclass(frozen=True)
class Ahead:
    """What a prefetch reads, in record numbers."""

    records: Ints  # in groups of AT_ONCE, the surest first; ascending within each
    runs: Runs
    bytes_read: int


@dataclass(frozen=True)
class Change:
    """What another point does to a table."""

    moves: Resize
    admitted: Ints  # [n, 2] (record, slot), ascending: pinned now, and at the start of a warm set
    runs: Ints  # [n, 2] (offset, bytes) of their reads
    seconds: float


class Machine:
    """Caches of all tables under one point.

    Args:
        tables: Of the plan.
        point: Pinned records are read at once: `opening` tells how, by table.
        flash: Tells the seconds.
        orders: By table, the index of each record, a permutation; None where they are the same.
        importance: By table, f32 by record; see Uses.
        warm: By table, records to fill free slots with at first, those to keep longest first, as
            far as the policy keeps any; or no list at all.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        point: Point,
        flash: Flash,
        orders: Sequence[Ints | None] = (),
        importance: Sequence[Floats32 | None] = (),
        warm: Sequence[Ints] = (),
    ) -> None:
        self.tables, self.flash = tables, flash
        self.caches = [
            RecordCache(table.count, policy(point.policy), sizes)
            for table, sizes in zip_longest(tables, importance)
        ]
        self._orders = [
            np.arange(table.count) if order is None else np.asarray(order, np.int64)
            for table, order in zip_longest(tables, orders)
        ]
        self._record_of = [np.argsort(order) for order in self._orders]
        self._foresight = [Foresight() for _ in tables]
        for cache, window in zip(self.caches, point.window, strict=False):
            cache.window = window
        self.opening = self.change(point, warm)

    def change(self, point: Point, warm: Sequence[Ints] = ()) -> tuple[Change, ...]:
        """Another point from the next gather on; what was used how often is kept.

        warm  of the first point, see above
        """
        self.point = point
        lists = warm or [NONE] * len(self.tables)
        return tuple(self._resize(number, records) for number, records in enumerate(lists))

    def glimpse(self, number: int, rule: Select, scores: Array | None, first: int) -> Glimpse:
        """What a gather reads to know of which missing records it needs the rest.

        As many as a launch takes; of those behind them all is read at once, as of those that a
        prefetch has read.

        Args:
            number: Of the table.
            rule: Selects indices.
            scores: By index, as `select` takes them.
            first: Bytes of a record that are read.
        """
        table = self.tables[number]
        selected = self._selected(number, rule, scores, self.dense(number, rule))
        away = selected[self.caches[number].slot_of[selected] == FREE]
        early = np.isin(away, self._foresight[number].records)
        records = away[~early][: self.point.cluster]
        starts = table.offset + records * table.stride
        joining = self.point.gap, self.point.max_read, self.point.cluster
        runs = coalesce(starts, first, *joining)
        spared = round_up(table.bytes, PAGE) - round_up(first, PAGE)
        return Glimpse(selected, records, runs, self._seconds(runs.spans), spared)

    def gather(
        self,
        number: int,
        rule: Select,
        scores: Array | None,
        step: int,
        tile: int = 0,
        glimpse: Glimpse | None = None,
        left: Ints = NONE,
    ) -> Outcome:
        """What a gather of this table does at this step.

        Args:
            number: Of the table.
            rule: Selects indices.
            scores: By index, as `select` takes them.
            step: Of the text's tokens, counted from 0; not less than that of the last gather.
            tile: The most records of a launch, and reads are of equal ones; 0: clusters are of
                the point's size, and what is resident is one launch.
            glimpse: What has been read of this gather's records.
            left: Of those records the ones that nothing more is needed of; ascending.
        """
        always = self.dense(number, rule)
        if glimpse is None:
            selected = needed = self._selected(number, rule, scores, always)
        else:
            selected = glimpse.selected
            needed = selected[~np.isin(selected, left)]
        done = self.caches[number].admit(needed, step, whole=rule.by == "all")
        misses = np.sort(np.concatenate([done.admitted[:, 0], done.streamed]))
        most = at_once(len(misses), tile, self.point.cluster)
        ahead = self._foresight[number].found(misses)
        runs = self._runs(number, misses, most, ahead, glimpse)
        early = _below(done.hits, always) if glimpse is None else len(done.hits)
        slot_of = self.caches[number].slot_of
        return Outcome(
            selected,
            done.hits,
            done.admitted,
            done.streamed,
            done.evicted,
            runs.spans,
            clusters(done.hits, misses, slot_of, runs, tile, most, early),
            self._seconds(runs.spans),
            runs.bytes,
            len(misses) * self.tables[number].bytes,
            ahead,
            always,
            glimpse,
            left,
        )

    def dense(self, number: int, rule: Select) -> int:
        """Records, the first ones, that such a gather computes whether they are selected or not.

        Where all is pinned there are none: a device that chooses itself waits for nobody.
        """
        whole = self.point.pinned[number] == self.tables[number].count
        return 0 if rule.by not in DENSE or whole else self.point.dense[number]

    def prefetch(self, number: int, rule: Select, scores: Array, step: int, most: int) -> Ahead:
        """What to read now for the next gather of this table, which changes no cache.

        rule   of that gather; `scores`: as it will have them, about, f32 by index
        most   records
        """
        indices = select(rule, scores, self.tables[number].count, np.zeros(0, bool))
        records = self._record_of[number][indices]
        away = self.caches[number].slot_of[records] == FREE
        records, values = records[away], compared(rule, scores)[indices[away]]
        greatest = np.lexsort((records, -values))[: self._foresight[number].most(most, step)]
        groups = np.arange(len(greatest)) // AT_ONCE
        records = records[greatest][np.lexsort((records[greatest], groups))]
        self._foresight[number].records = records
        runs = self._runs(number, records, AT_ONCE)
        return Ahead(records, runs, runs.bytes)

    def forget_ahead(self, number: int) -> None:
        """Nothing is there any more of what a prefetch was to read of this table."""
        self._foresight[number].records = NONE

    def indices(self, number: int, records: Ints) -> Ints:
        """The index of each record."""
        return self._orders[number][records]

    def _selected(self, number: int, rule: Select, scores: Array | None, always: int) -> Ints:
        """Records, ascending; the first so many whatever the scores are."""
        record_of = self._record_of[number]
        near = self.caches[number].slot_of[record_of] != FREE
        found = np.sort(record_of[select(rule, scores, self.tables[number].count, near)])
        return np.concatenate([np.arange(always), found[_below(found, always) :]])

    def _resize(self, number: int, warm: Ints) -> Change:
        cache, point = self.caches[number], self.point
        cache.policy = policy(point.policy)
        moves = cache.resize(point.slots[number], point.pinned[number])
        admitted = np.concatenate([moves.admitted, cache.open(warm)])
        admitted = admitted[np.argsort(admitted[:, 0])]
        spans = self._runs(number, admitted[:, 0], self.tables[number].count).spans
        return Change(moves, admitted, spans, self._seconds(spans))

    def _runs(
        self,
        number: int,
        records: Ints,
        most: int,
        there: Ints = NONE,
        glimpse: Glimpse | None = None,
    ) -> Runs:
        """Reads of records; but of those that are there, and of what was glimpsed."""
        table, places = self.tables[number], np.flatnonzero(~np.isin(records, there))
        starts = table.offset + records[places] * table.stride
        joining = self.point.gap, self.point.max_read, most
        seen = NONE if glimpse is None else glimpse.records
        pages = 0 if glimpse is None else round_up(table.bytes, PAGE) - glimpse.spared
        begun = np.isin(records[places], seen) * pages
        return coalesce(starts, table.bytes, *joining, places, begun)

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


def _below(records: Ints, number: int) -> int:
    """How many of ascending records are below this one."""
    return int(np.searchsorted(records, number))
