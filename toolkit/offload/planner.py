"""How memory is shared among tables, and what the caches do with it, so that a token takes least.

A time is predicted for every table and number of slots: what is missed is read while what is
resident is computed. `Allocation` shares the memory; what its units leave over goes to the records
that are selected most often. The policy is the one whose prediction is less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from toolkit.offload.allocation import Allocation, Sizes
from toolkit.offload.expected import Reads, expected_reads
from toolkit.offload.flash_model import Flash, Floats
from toolkit.offload.policies import Floats32
from toolkit.plan.schema import Point, Table

STEPS = 32  # numbers of slots of a table that are tried
NOISE = 0.05  # of a ratio that some hundreds of tokens tell: less says nothing
PINNED = 0.5  # a record that is selected in more tokens is never evicted


@dataclass(frozen=True)
class Costs:
    """Of a device.

    rest    seconds of a token beside its tables
    byte    seconds to compute a byte of a record
    launch  seconds of a cluster beside its records
    wait    seconds of a gather beside its clusters: the host waits, selects, looks up
    """

    rest: float = 0.0
    byte: float = 0.0
    launch: float = 0.0
    wait: float = 0.0


@dataclass(frozen=True)
class Demand:
    """How a token needs a table.

    frequency  by record: in which share of tokens it is selected; descending
    recurring  misses of a cache that keeps what was used most often, per miss of one whose records
               never change, by the share of the table that has slots: [n, 2] (share, ratio),
               ascending; None: not known
    """

    table: Table
    frequency: Floats
    recurring: Floats32 | None = None


@dataclass(frozen=True)
class Planned:
    """Slots and pinned records of each table, and a policy; of a token what is predicted.

    nbytes                    of all slots
    seconds                   of a token
    read_bytes, read_seconds  of its reads, which go on while it is computed
    """

    slots: tuple[int, ...]
    pinned: tuple[int, ...]
    policy: str
    nbytes: int
    seconds: float
    read_bytes: float
    read_seconds: float


@dataclass(frozen=True)
class Planner:
    """Choices for some tables, for any budget."""

    demands: Sequence[Demand]
    point: Point  # how reads are made
    flash: Flash
    costs: Costs = field(default_factory=Costs)

    @property
    def most(self) -> int:
        """Bytes of all records."""
        return sum(each.table.bytes * each.table.count for each in self.demands)

    def within(self, budget: int) -> Planned:
        """The least predicted time with at most so many bytes of slots, which are not below 0."""
        return min((each.within(budget) for each in self._ways), key=lambda found: found.seconds)

    def least(self, seconds: float) -> Planned | None:
        """The least bytes at which a token is predicted to take at most so long."""
        low, high = -1, self.most
        if self.within(high).seconds > seconds:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            enough = self.within(middle).seconds <= seconds
            low, high = (low, middle) if enough else (middle, high)
        return self.within(high)

    @cached_property
    def _ways(self) -> tuple[_Way, ...]:
        known = any(each.recurring is not None for each in self.demands)
        return tuple(_Way(self, policy) for policy in (("static", "lfu") if known else ("static",)))


@dataclass(frozen=True)
class _Way:
    """The same under one policy."""

    of: Planner
    policy: str

    def within(self, budget: int) -> Planned:
        share = self._allocation.within(budget)
        assert share is not None  # the least sizes are 0
        demands, sizes = self.of.demands, zip(self._sizes, share.sizes, strict=True)
        slots = _filled(demands, [counts[n] for counts, n in sizes], budget)
        pairs = list(zip(demands, slots, strict=True))
        reads = [self._reads(*pair) for pair in pairs]
        return Planned(
            tuple(slots),
            tuple(self._pinned(*pair) for pair in pairs),
            self.policy,
            sum(each.table.bytes * n for each, n in pairs),
            self.of.costs.rest + sum(self._seconds(*pair) for pair in pairs),
            sum(each.bytes for each in reads),
            sum(each.seconds(self.of.flash) for each in reads),
        )

    @cached_property
    def _sizes(self) -> list[list[int]]:
        counts = [each.table.count for each in self.of.demands]
        return [
            np.unique(np.linspace(0, count, min(STEPS, count + 1)).astype(int)).tolist()
            for count in counts
        ]

    @cached_property
    def _allocation(self) -> Allocation:
        tables = [
            Sizes([n * each.table.bytes for n in sizes], [self._seconds(each, n) for n in sizes])
            for each, sizes in zip(self.of.demands, self._sizes, strict=True)
        ]
        return Allocation(tables, self.of.most)

    def _pinned(self, demand: Demand, slots: int) -> int:
        if self.policy == "static":
            return slots
        return min(slots, int((demand.frequency > PINNED).sum()))

    def _seconds(self, demand: Demand, slots: int) -> float:
        """Reads go on while what is there is computed; only the last cluster waits for them."""
        costs, point = self.of.costs, self.of.point
        reads = self._reads(demand, slots)
        last = min(reads.misses, point.cluster)
        each = costs.byte * demand.table.bytes
        before = each * (float(demand.frequency.sum()) - last)
        launches = costs.launch * (1 + reads.misses / point.cluster)
        return costs.wait + launches + max(reads.seconds(self.of.flash), before) + each * last

    def _reads(self, demand: Demand, slots: int) -> Reads:
        reads = expected_reads(demand.table, demand.frequency, slots, self.of.point)
        if self.policy == "static" or demand.recurring is None:
            return reads
        shares, ratios = demand.recurring.T
        ratio = float(np.interp(slots / demand.table.count, shares, ratios))
        return reads.times(ratio if ratio < 1 - NOISE else max(1.0, ratio))


def _filled(demands: Sequence[Demand], slots: Sequence[int], budget: int) -> list[int]:
    """More slots of what bytes are left, for the records that are selected most often by byte."""
    free = budget - sum(d.table.bytes * n for d, n in zip(demands, slots, strict=True))
    sizes = [np.full(d.table.count - n, d.table.bytes) for d, n in zip(demands, slots, strict=True)]
    often = [d.frequency[n:] for d, n in zip(demands, slots, strict=True)]
    owners = np.repeat(np.arange(len(demands)), [len(each) for each in sizes])
    nbytes = np.concatenate(sizes)
    order = np.argsort(-np.concatenate(often) / nbytes, kind="stable")
    taken = order[np.cumsum(nbytes[order]) <= free]
    more = np.bincount(owners[taken], minlength=len(demands))
    return [n + int(m) for n, m in zip(slots, more, strict=True)]
