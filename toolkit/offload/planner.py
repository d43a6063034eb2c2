"""How memory is shared among tables, and what the caches do with it, so that a token takes least.

A time is predicted for every table and number of slots (token_time.py). `Allocation` shares the
memory; what its units leave over goes to the records that are selected most often. Policy, cluster
and threads are those whose prediction is less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from toolkit.offload.allocation import Allocation, Share, Sizes
from toolkit.offload.flash_model import Flash
from toolkit.offload.prediction.ahead_time import LookAhead, wasted
from toolkit.offload.prediction.demand import PINNED, Demand
from toolkit.offload.prediction.hot_block import hot_block
from toolkit.offload.prediction.reads import Reads, added
from toolkit.offload.prediction.token_time import Costs, gathering
from toolkit.plan.schema import Point

PLANNED = ("lfu", "window")  # beside static, where it is known what they miss
STEPS = 32  # numbers of slots of a table that are tried
DIP = 16  # records


@dataclass(frozen=True)
class Way:
    """How reads may be made, and what that takes of memory beside slots."""

    point: Point
    nbytes: int = 0


@dataclass(frozen=True)
class Planned:
    """Slots, pinned and dense records of each table, the rest of a point; what is predicted.

    ahead         of each prefetch: records that it reads, none where that is no faster

    nbytes        of all slots, and what reads take
    seconds       of a token
    reads         of a token
    read_seconds  of these, which go on while it is computed
    """

    slots: tuple[int, ...]
    pinned: tuple[int, ...]
    dense: tuple[int, ...]
    ahead: tuple[int, ...]
    policy: str
    way: Way
    nbytes: int
    seconds: float
    reads: Reads
    read_seconds: float


@dataclass(frozen=True)
class Planner:
    """Choices for some tables, for any budget; `policy`: the one there is to be, if it is given.

    looks  prefetches of a token; `usual`: costs by which these are judged where nobody knows any
    """

    demands: Sequence[Demand]
    ways: Sequence[Way]
    flash: Flash
    costs: Costs = field(default_factory=Costs)
    policy: str | None = None
    looks: Sequence[LookAhead] = ()
    usual: Costs | None = None

    @property
    def records(self) -> int:
        """Bytes of all records."""
        return sum(each.table.bytes * each.table.count for each in self.demands)

    @property
    def least_bytes(self) -> int:
        """What reads take at least."""
        return min(way.nbytes for way in self.ways)

    @property
    def most(self) -> int:
        """Beyond so many bytes nothing changes."""
        return self.records + max(way.nbytes for way in self.ways)

    def within(self, budget: int, way: Way | None = None) -> Planned:
        """The least predicted time in so many bytes, not below `least_bytes`; perhaps one way's."""
        wanted = self._tries if way is None else [t for t in self._tries if t.way == way]
        fitting = [each for each in wanted if each.way.nbytes <= budget]
        best = min(fitting, key=lambda each: each.share(budget).seconds)
        return best.within(budget)

    def least(self, seconds: float) -> Planned | None:
        """The least bytes at which a token is predicted to take at most so long.

        Up to dips of more than `DIP` records: one that cuts a long read in two may cost more than
        it saves, so that a little more memory may be slower.
        """
        if self.within(self.most).seconds > seconds:
            return None
        low, found = self.least_bytes - 1, self.most
        record = min((each.table.bytes for each in self.demands), default=1)
        while True:
            found = self._between(low, found, seconds)
            fewer = (found - n * record for n in range(DIP, 0, -1))
            known = (b for b in fewer if b > low and self.within(b).seconds <= seconds)
            less = next(known, None)
            if less is None:
                return self.within(found)
            low, found = max(low, less - record), less

    def _between(self, low: int, high: int, seconds: float) -> int:
        """Bytes above `low` that are enough where one byte less isn't; `high` are enough."""
        while high - low > 1:
            middle = (low + high) // 2
            enough = self.within(middle).seconds <= seconds
            low, high = (low, middle) if enough else (middle, high)
        return high

    def predicted(self, point: Point) -> tuple[float, list[Reads]]:
        """Seconds of a token at a point that is given, and its reads by table."""
        reads = [d.reads(n, point) for d, n in zip(self.demands, point.slots, strict=True)]
        taken = map(self.seconds, self.demands, point.slots, [point] * len(reads))
        hot = zip(self.demands, point.dense, strict=False)
        gained = sum(hot_block(*each, self.costs)[1] for each in hot)
        seconds = self.costs.rest + sum(taken) - gained
        for look in (each for each in self.looks if _records(each, point)):
            seconds -= self._gain(look, point, reads)
            table = self.demands[look.table].table
            of_table = reads[look.table]
            reads[look.table] = added([of_table, wasted(_records(look, point), of_table, table)])
        return seconds, reads

    def ahead(self, point: Point) -> tuple[int, ...]:
        """As many as flash has time for, at most what the point says, where that is faster; else 0.

        Nothing is read ahead while a network is computed whose table lies in memory as a whole:
        executors leave such a prefetch out.
        """
        reads = [d.reads(n, point) for d, n in zip(self.demands, point.slots, strict=True)]
        found = list(point.ahead)
        for look in (each for each in self.looks if _records(each, point)):
            whole = point.slots[look.during] == self.demands[look.during].table.count
            count = 0 if whole else self._worth(look, point, reads)
            found = [count if i in look.numbers else n for i, n in enumerate(found)]
        return tuple(found)

    def dense(self, point: Point) -> tuple[int, ...]:
        """Records of each table that are to be computed without being selected."""
        hot = zip(self.demands, point.pinned, strict=True)
        return tuple(hot_block(*each, self.costs)[0] for each in hot)

    def _worth(self, look: LookAhead, point: Point, reads: Sequence[Reads]) -> int:
        flash, idle = self.flash.with_threads(point.threads), self._idle(look, point, reads)
        table, most = self.demands[look.table].table, _records(look, point)
        count = look.records(most, table, flash, idle)
        return count if look.gain(count, reads[look.table], table, flash, idle) > 0 else 0

    def _gain(self, look: LookAhead, point: Point, reads: Sequence[Reads]) -> float:
        flash, idle = self.flash.with_threads(point.threads), self._idle(look, point, reads)
        of, table = reads[look.table], self.demands[look.table].table
        return look.gain(_records(look, point), of, table, flash, idle)

    def _idle(self, look: LookAhead, point: Point, reads: Sequence[Reads]) -> float:
        """Seconds of flash from the reads of one network to those of the next."""
        flash, slots = self.flash.with_threads(point.threads), point.slots[look.during]
        judge = self if self.usual is None else replace(self, costs=self.usual)
        during = judge.seconds(self.demands[look.during], slots, point)
        return look.between + max(0.0, during - reads[look.during].seconds(flash))

    def seconds(self, demand: Demand, slots: int, point: Point) -> float:
        """Of a gather."""
        reads, whole = demand.reads(slots, point), slots == demand.table.count
        read_s = reads.seconds(self.flash.with_threads(point.threads))
        sizes = demand.needed, demand.table.bytes, point.cluster, point.threads
        return gathering(self.costs, read_s, reads.misses, *sizes, 1, whole, demand.looked_at)

    @cached_property
    def _tries(self) -> tuple[_Try, ...]:
        """Those that cost less memory first: of equal times the first one counts."""
        known = (p for p in PLANNED if any(each.tells_of(p) for each in self.demands))
        policies = ("static", *known) if self.policy is None else (self.policy,)
        ways = sorted(self.ways, key=lambda way: (way.nbytes, way.point.threads, way.point.cluster))
        return tuple(_Try(self, way, policy) for way in ways for policy in policies)


@dataclass(frozen=True)
class _Try:
    """The same in one way and under one policy."""

    of: Planner
    way: Way
    policy: str

    def share(self, budget: int) -> Share:
        """By the sizes that are tried."""
        found = self._allocation.within(min(budget - self.way.nbytes, self.of.records))
        assert found is not None  # the least sizes are 0
        return found

    def within(self, budget: int) -> Planned:
        """With what is left over, too."""
        room, share = budget - self.way.nbytes, self.share(budget)
        demands, sizes = self.of.demands, zip(self._sizes, share.sizes, strict=True)
        slots = _filled(demands, [counts[n] for counts, n in sizes], room)
        point = self._point(tuple(slots))
        pinned = tuple(self._pinned(*pair) for pair in zip(demands, slots, strict=True))
        point = replace(point, ahead=self.of.ahead(point), pinned=pinned)
        point = replace(point, dense=self.of.dense(point))
        seconds, reads = self.of.predicted(point)
        flash = self.of.flash.with_threads(point.threads)
        held = sum(each.table.bytes * n for each, n in zip(demands, slots, strict=True))
        return Planned(
            point.slots,
            point.pinned,
            point.dense,
            point.ahead,
            self.policy,
            self.way,
            held + self.way.nbytes,
            seconds,
            added(reads),
            sum(each.seconds(flash) for each in reads),
        )

    @cached_property
    def _sizes(self) -> list[list[int]]:
        return [_tried(each) for each in self.of.demands]

    @cached_property
    def _allocation(self) -> Allocation:
        tables = [
            Sizes([n * each.table.bytes for n in sizes], list(self._times(each, sizes)))
            for each, sizes in zip(self.of.demands, self._sizes, strict=True)
        ]
        return Allocation(tables, self.of.records)

    def _times(self, demand: Demand, sizes: Sequence[int]) -> Iterator[float]:
        point = self._point(())
        for n in sizes:
            yield self.of.seconds(demand, n, point)

    def _point(self, slots: tuple[int, ...]) -> Point:
        return replace(self.way.point, slots=slots, policy=self.policy)

    def _pinned(self, demand: Demand, slots: int) -> int:
        if self.policy == "static":
            return slots
        return min(slots, int((demand.frequency > PINNED).sum()))


def _tried(demand: Demand) -> list[int]:
    """Numbers of slots, of those that there may be."""
    count = demand.table.count
    sizes = np.unique(np.linspace(0, count, min(STEPS, count + 1)).astype(int)).tolist()
    ends = {demand.most(n) for n in sizes} - {count}
    return sorted(n for n in {*sizes, *ends} if 0 <= n <= demand.most(n))


def _records(look: LookAhead, point: Point) -> int:
    return point.ahead[look.numbers[0]] if point.ahead else 0


def _filled(demands: Sequence[Demand], slots: Sequence[int], budget: int) -> list[int]:
    """More slots of what bytes are left, for the records that are selected most often by byte."""
    free = budget - sum(d.table.bytes * n for d, n in zip(demands, slots, strict=True))
    pairs = list(zip(demands, slots, strict=True))
    sizes = [np.full(d.most(n) - n, d.table.bytes) for d, n in pairs]
    often = [d.frequency[n : d.most(n)] for d, n in pairs]
    owners = np.repeat(np.arange(len(demands)), [len(each) for each in sizes])
    nbytes = np.concatenate(sizes)
    order = np.argsort(-np.concatenate(often) / nbytes, kind="stable")
    taken = order[np.cumsum(nbytes[order]) <= free]
    more = np.bincount(owners[taken], minlength=len(demands))
    return [n + int(m) for n, m in zip(slots, more, strict=True)]
