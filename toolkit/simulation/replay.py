"""One table's accesses through the machine that executors ask (toolkit/offload/machine.py).

What is read ahead, too, where accesses tell what prefetches go by. What a run needs and keeps
doesn't hang on that, but how it reads what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from toolkit.errors import PocketError
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Ahead, Machine, Outcome
from toolkit.offload.policies import NEVER, Floats32, Ints
from toolkit.offload.prediction.ahead_time import LookAhead
from toolkit.offload.prediction.token_time import Costs, gathering
from toolkit.offload.record_cache import NONE, RecordCache
from toolkit.offload.selection import select
from toolkit.plan.schema import Point, Select, Table
from toolkit.simulation.accesses import Access, needed_scores
from toolkit.simulation.foresight import Foresight

BELADY = "belady"  # a policy that no run has: it knows what comes
Seen = Callable[[Access, Outcome, Ahead | None], None]


@dataclass(frozen=True)
class Sums:
    """Of accesses: records, reads and bytes; `read_s` of the reads alone, `seconds` of gathers.

    hits    records that were in memory
    left_early  that a window still had, and that were not, for want of slots
    reads   of flash, `read_bytes`; `used_bytes`: of the records among them that were wanted
    ahead   of these, records that prefetches read, `ahead_needed`: that a gather then asked for;
            `ahead_bytes`: of their reads, `prefetches`: of these there were so many
    """

    selected: int = 0
    hits: int = 0
    left_early: int = 0
    reads: int = 0
    read_bytes: int = 0
    used_bytes: int = 0
    prefetches: int = 0
    ahead: int = 0
    ahead_needed: int = 0
    ahead_bytes: int = 0
    read_s: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        names = [each.name for each in fields(Sums)]
        return Sums(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True)
class Replayed:
    """Of one table or of several: steps of one token, others, and what was read before any."""

    tokens: Sums = Sums()
    others: Sums = Sums()
    opening: Sums = Sums()

    def __add__(self, other: Replayed) -> Replayed:
        return Replayed(
            self.tokens + other.tokens, self.others + other.others, self.opening + other.opening
        )


@dataclass(frozen=True)
class Early:
    """What reads a table ahead.

    number  of the prefetch, as points count them
    during  table of the network that is computed meanwhile; `count`: how many records it has
    look    what that takes, where the device is known
    """

    number: int
    during: int
    count: int
    look: LookAhead | None = None


@dataclass(frozen=True)
class Held:
    """A table, and what its machine knows of its records."""

    number: int  # among the plan's tables
    table: Table
    order: Ints | None
    importance: Floats32 | None
    early: Early | None = None

    def most(self, point: Point) -> int:
        """Records that are read ahead, as executors have it: none beside a table in memory."""
        if self.early is None or not point.ahead:
            return 0
        whole = point.pinned[self.number] == self.table.count
        whole |= point.pinned[self.early.during] == self.early.count
        return 0 if whole else point.ahead[self.early.number]

    def point(self, of: Point, policy: str | None = None) -> Point:
        """The part of a point that is this table's."""
        number, window = self.number, of.window
        return replace(
            of,
            slots=(of.slots[number],),
            pinned=(of.pinned[number],),
            dense=(of.dense[number],),
            window=(window[number],) if window else (),
            policy=policy or of.policy,
        )


def replay(
    held: Held,
    accesses: Sequence[Access],
    point: Point,
    policy: str,
    flash: Flash,
    costs: Costs,
    needed: bool = False,
    seen: Seen | None = None,
    warm: Ints = NONE,
    window: int | None = None,
) -> Replayed:
    """What a policy does at a point.

    policy  one of the machine's, or BELADY
    needed  select what isn't zero, in place of what each gather's rule says
    seen    is shown every outcome, and what a prefetch has read before
    warm    records that slots begin with, as far as there is room; BELADY begins with its own
    window  steps of one that doesn't adapt
    """
    if any(access.gather.first is not None for access in accesses):
        because = "of its missing records gates are read first, and the rest of some"
        hint = "run it: pocketcl bench tells what it reads"
        raise PocketError(
            f"simulate knows no two-phase reads, as of {held.table.name}", because, hint
        )
    chosen = [_chosen(access, point, needed) for access in accesses]
    machine = _machine(held, point, policy, flash, chosen, warm)
    found = Replayed(opening=_opened(machine, held.table))
    for access, (rule, scores) in zip(accesses, chosen, strict=True):
        (cache,) = machine.caches
        cache.window = window or cache.window
        since = access.step - cache.window
        ahead = _prefetched(machine, held, access, point)
        outcome = machine.gather(0, rule, scores, access.step, access.gather.tile)
        sums = _sums(outcome, held, access.gather.select, costs, point)
        sums += Sums(left_early=_left_early(cache, outcome, since))
        if ahead is not None:
            sums += _early(ahead, outcome, held, flash)
        found += Replayed(tokens=sums) if access.token else Replayed(others=sums)
        if seen is not None:
            seen(access, outcome, ahead)
    return found


def _prefetched(machine: Machine, held: Held, access: Access, point: Point) -> Ahead | None:
    """What is read before the gather asks; None where there is no prefetch."""
    most = held.most(point)
    if access.ahead is None or not most:
        return None
    return machine.prefetch(0, access.rule(point), access.ahead, access.step, most)


def _early(ahead: Ahead, outcome: Outcome, held: Held, flash: Flash) -> Sums:
    """It takes time for what computes its scores, and where reads take longer than what lies
    between the two networks."""
    runs = ahead.runs.spans
    read_s = float(flash.seconds(runs[:, 1]).sum()) if len(runs) else 0.0
    look = None if held.early is None else held.early.look
    return Sums(
        reads=len(runs),
        read_bytes=ahead.bytes_read,
        prefetches=1,
        ahead=len(ahead.records),
        ahead_needed=len(outcome.ahead),
        ahead_bytes=ahead.bytes_read,
        read_s=read_s,
        seconds=0.0 if look is None else look.dispatches + max(0.0, read_s - look.between),
    )


def _left_early(cache: RecordCache, outcome: Outcome, since: int) -> int:
    """What was used after this step and leaves, or gets no slot, all the same; 0 without slots."""
    if not cache.policy.expires:
        return 0
    early = cache.uses.last[outcome.evicted] > max(since, NEVER)
    return int(early.sum()) + (len(outcome.streamed) if cache.slots else 0)


def _chosen(access: Access, point: Point, needed: bool) -> tuple[Select, np.ndarray | None]:
    if needed and access.needed is not None:
        return needed_scores(access)
    return access.rule(point), access.scores


def _machine(
    held: Held,
    point: Point,
    policy: str,
    flash: Flash,
    chosen: Sequence[tuple[Select, np.ndarray | None]],
    warm: Ints,
) -> Machine:
    orders, of_policies = [held.order], [held.importance]
    if policy != BELADY:
        of_table = held.point(point, policy)
        return Machine([held.table], of_table, flash, orders, of_policies, [warm])
    none = replace(held.point(point, "lru"), slots=(0,), pinned=(0,))
    machine = Machine([held.table], none, flash, orders)
    count, slots = held.table.count, point.slots[held.number]
    everything = np.ones(count, bool)
    order = np.arange(count) if held.order is None else held.order
    record_of = np.argsort(order)
    selections = [np.sort(record_of[select(*each, count, everything)]) for each in chosen]
    machine.caches = [Foresight(count, slots, selections)]
    return machine


def _opened(machine: Machine, table: Table) -> Sums:
    """What is pinned is read before the first step, and a warm set."""
    opened = machine.opening[0]
    runs, used = opened.runs, len(opened.admitted) * table.bytes
    return Sums(
        reads=len(runs), read_bytes=int(runs[:, 1].sum()), used_bytes=used, read_s=opened.seconds
    )


def _sums(outcome: Outcome, held: Held, rule: Select, costs: Costs, point: Point) -> Sums:
    """The host looks at scores of all records, or at ids; where all have a slot, the device at
    scores, or at one id."""
    scored = rule.by != "ids"
    table, needed = held.table, len(outcome.selected)
    misses = needed - len(outcome.hits)
    sizes = misses, needed, table.bytes, point.cluster, point.threads
    whole = point.slots[held.number] == table.count and (scored or rule.k == 1)
    whole_of = whole, table.count if scored else 0
    return Sums(
        selected=len(outcome.selected),
        hits=len(outcome.hits),
        reads=len(outcome.runs),
        read_bytes=outcome.bytes_read,
        used_bytes=outcome.bytes_used,
        read_s=outcome.seconds,
        seconds=gathering(costs, outcome.seconds, *sizes, 1, *whole_of),
    )
