"""Points of a plan whose neurons' frequencies are known: who gets how much memory, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opencl_kernels.device_class import is_cpu_class
from opencl_kernels.formats import Array
from toolkit.compiler.budget.costs import (
    cost_of,
    costs_of,
    facts_of,
    flash_for,
    looks_of,
    middle,
    usual_cost_of,
)
from toolkit.compiler.budget.point import reading_bytes, ways_of
from toolkit.compiler.budget.staging import Prompt
from toolkit.devices.match import Profile
from toolkit.errors import PocketError
from toolkit.offload.planner import Planned, Planner, Way
from toolkit.offload.points import by_ids, by_routers
from toolkit.offload.policies import window_for
from toolkit.offload.prediction.demand import Demand
from toolkit.offload.prediction.preferred import Preferred
from toolkit.offload.prediction.replayed import Replayed
from toolkit.offload.prediction.token_time import Costs
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import DENSE, Plan, Point, Select, Table
from toolkit.predictors.layer import Use
from toolkit.tables import rate as rate_text

BUDGETS = 8  # of a plan's points, at most
SPEEDS = (0.25, 0.5, 1.0)  # of flash, against that of the profile: each has points of its own
MOST_NEEDS = 30_000  # of records, by all tokens of a table that are replayed
MOST_CHOSEN = 12_000  # likewise, where what is needed hangs on what lies in memory


def zipf(count: int) -> Array:
    """How often the words of a vocabulary come in a text, most frequent first: about 1 / rank."""
    often = 1 / np.arange(1, count + 1)
    return np.asarray(often / often.sum())


def even(count: int, k: int) -> Array:
    """How often each expert is chosen, where nobody has counted: of a balanced router alike."""
    return np.full(count, min(1.0, k / count))


def uses_by_ids(plan: Plan) -> dict[int, Use]:
    """Of tables whose records ids choose: experts, and rows of embeddings."""
    experts = {i: Use(even(plan.tables[i].count, k)) for i, k in by_routers(plan).items()}
    return experts | {i: Use(zipf(plan.tables[i].count)) for i in by_ids(plan)}


@dataclass(frozen=True)
class Planning:
    """Of a plan with a point that keeps no record in memory.

    resident  bytes that it takes beside its tables
    unknown   why the time of computing is not known; predicted times are then of reads alone
    prompt    where one needs all of a table, tile by tile
    """

    plan: Plan
    resident: int
    planner: Planner
    unknown: PocketError | None
    prompt: Prompt | None = None

    @classmethod
    def of(
        cls,
        plan: Plan,
        needed: int,
        uses: Sequence[Use],
        flash: str | None,
        facts: Profile | None = None,
        policy: str | None = None,
    ) -> Planning:
        """For a flash of this name.

        needed  bytes that the plan takes at its first point, which has no slots
        uses    by table
        facts   the profile of the device; default: that the plan is compiled for
        policy  that caches are to have; None: the one that is predicted to be best
        """
        facts = facts_of(plan) if facts is None else facts
        demands = demands_of(plan, uses, waits=not is_cpu_class(facts.get("class")))
        read = flash_for(facts, flash)
        costs, unknown = known_costs(plan, facts, demands)
        resident = needed - reading_bytes(plan, plan.points[0])
        planner = Planner(demands, ways_of(plan, read.gap), read, costs, policy)
        planner = _looking(planner, plan, facts, unknown is not None)
        return cls(plan, resident, planner, unknown, Prompt.of(plan, facts, read, unchosen(plan)))

    def anew(self, plan: Plan, needed: int) -> Planning:
        """For the same tables in a plan that is lowered otherwise; `needed` as above."""
        ways = ways_of(plan, self.planner.flash.gap)
        planner = replace(self.planner, ways=ways)
        planner = _looking(planner, plan, facts_of(plan), self.unknown is not None)
        resident = needed - reading_bytes(plan, plan.points[0])
        prompt = Prompt.of(plan, facts_of(plan), planner.flash, unchosen(plan))
        return replace(self, plan=plan, resident=resident, planner=planner, prompt=prompt)

    @property
    def whole(self) -> int:
        """Bytes with all records in memory."""
        return self.resident + self.planner.least_bytes + self.planner.records

    def least(self, rate: float) -> int:
        """The least memory in which so many tokens a second are predicted; raises if none does."""
        if self.unknown is not None:
            raise self.unknown
        found = self.planner.least(1 / rate)
        if found is not None:
            return self.resident + found.nbytes
        best = 1 / self.planner.within(self.planner.most).seconds
        raise PocketError(
            f"no memory gives {rate:g} tokens/s",
            f"with all weights in memory {rate_text(best)} tokens/s are predicted",
            f"--rate {int(best * 100) / 100:g}, or --memory 100%",
        )

    def within(self, budget: int) -> Plan:
        """The plan with points up to this budget, which is that of the last one.

        All are read in the way that is best at the last one: a run that changes its point keeps
        what it reads into.
        """
        way = self.planned(budget).way
        room = budget - self.resident - way.nbytes
        rooms = [room * n // (BUDGETS - 1) for n in range(BUDGETS)]
        found = [self.point(self.resident + way.nbytes + n, way) for n in rooms]
        for speed in SPEEDS[:-1]:
            planner = replace(self.planner, flash=self.planner.flash.slowed(speed))
            prompt = None if self.prompt is None else self.prompt.by(planner.flash)
            slower = replace(self, planner=planner, prompt=prompt)
            found += [  # none has more than its like
                replace(slower.point(like.memory, way), flash=speed) for like in found[:BUDGETS]
            ]
        points = {(point.memory, point.flash): point for point in found}
        flash = self.planner.flash.with_threads(way.point.threads).planned
        return replace(self.plan, points=tuple(points[at] for at in sorted(points)), flash=flash)

    def planned(self, budget: int, way: Way | None = None) -> Planned:
        """Of so much memory in all; where that is too little, of the least that can be."""
        least = self.planner.least_bytes if way is None else way.nbytes
        room = max(budget - self.resident, least)
        return self.planner.within(min(room, self.planner.most), way)

    def point(self, budget: int, way: Way | None = None) -> Point:
        """The best within so much memory."""
        if self.prompt is None:
            return self._point(budget, way)
        return self.prompt.staged(budget, lambda nbytes: self._point(nbytes, way))

    def _point(self, budget: int, way: Way | None) -> Point:
        found = self.planned(budget, way)
        return replace(
            found.way.point,
            memory=self.resident + found.nbytes,
            slots=found.slots,
            pinned=found.pinned,
            dense=found.dense,
            ahead=found.ahead,
            policy=found.policy,
            predicted_s=0.0 if self.unknown is not None else found.seconds,
            window=self._window(found),
        )

    def _window(self, found: Planned) -> tuple[int, ...]:
        """What caches begin with; none where the policy has no window."""
        if found.policy != "window":
            return ()
        sizes = zip(self.planner.demands, found.slots, found.pinned, strict=True)
        return tuple(window_for(demand.frequency, *each) for demand, *each in sizes)

    def seconds(self, point: Point) -> float:
        """Of a token; of its reads alone, where it is unknown what else takes how long."""
        return self.planner.predicted(point)[0]

    def figures(self, plan: Plan) -> dict[str, Any]:
        """What is predicted of the last of its points, for `--json`."""
        point, flash = plan.points[-1], self.planner.flash
        seconds, reads = self.planner.predicted(point)
        read_s = sum(each.seconds(flash.with_threads(point.threads)) for each in reads)
        return {
            "flash": flash.name,
            "policy": point.policy,
            "cluster": point.cluster,
            "threads": point.threads,
            "predicted_tokens_per_s": 1 / seconds if self.unknown is None and seconds else None,
            "predicted_read_bytes": round(sum(each.bytes for each in reads)),
            "predicted_read_s": read_s,
        }


def demands_of(plan: Plan, uses: Sequence[Use], waits: bool = False) -> list[Demand]:
    """By table; of what is not chosen every token needs all.

    waits  the device is another one than the host, and has nothing to do while this chooses
    """
    rules: dict[int, list[Select]] = {i: [] for i in range(len(plan.tables))}
    for gather in (each for phase in plan.phases for each in phase.gathers()):
        rules[gather.table] += [gather.select] if gather.select.by != "all" else []
    ids = uses_by_ids(plan)
    return [
        _demand(table, use, rules[i], i not in ids, waits) if rules[i] else all_of(table)
        for i, (table, use) in enumerate(zip(plan.tables, uses, strict=True))
    ]


def all_of(table: Table) -> Demand:
    """Every token needs all of its records."""
    every = np.ones(table.count)
    return Demand(table, every, replayed=Replayed(table, every[None] > 0))


def unchosen(plan: Plan) -> list[Demand]:
    """By table, where nothing is known of neurons: all are needed; of ids what they choose."""
    ids = uses_by_ids(plan)
    return [
        Demand(table, ids[i].frequency, scored=False) if i in ids else all_of(table)
        for i, table in enumerate(plan.tables)
    ]


def _demand(table: Table, use: Use, rules: Sequence[Select], scored: bool, waits: bool) -> Demand:
    replayed: Replayed | Preferred | None = None
    rule, spare = rules[0], waits and all(each.by in DENSE for each in rules)
    if use.replayed is not None:
        replayed = Replayed(table, _thinned(use.replayed))
    elif use.sizes is not None and rule.by == "top":
        few = use.sizes[:: max(1, -(-rule.k * len(use.sizes) // MOST_CHOSEN))]
        replayed = Preferred(table, few.astype(np.float32), rule.k, rule.gamma)
    return Demand(table, use.frequency, use.recurring, replayed, scored, spare, use.shares)


def _thinned(selected_TF: Array) -> Array:
    """Some of the tokens, where there are more needs than a planner has time to look at."""
    every = max(1, -(-int(selected_TF.sum()) // MOST_NEEDS))
    return selected_TF[::every]


def _looking(planner: Planner, plan: Plan, facts: Profile, unknown: bool) -> Planner:
    """With the prefetches of a token.

    unknown  nobody knows how fast the device computes: whether they are worth it, a usual one tells
    """
    phase = token_phase(plan)
    if phase is None or not phase.prefetches():
        return replace(planner, looks=())
    computed = sum(each.needed * each.table.bytes for each in planner.demands)
    cost = usual_cost_of(plan, facts)
    usual = costs_of(cost, computed) if unknown else None
    return replace(planner, looks=looks_of(cost, phase, middle(plan), computed), usual=usual)


def known_costs(
    plan: Plan, facts: Profile, demands: Sequence[Demand]
) -> tuple[Costs, PocketError | None]:
    """Of a token; where the device's rates aren't known, why."""
    computed = sum(each.needed * each.table.bytes for each in demands)
    try:
        return costs_of(cost_of(plan, facts), computed), None
    except PocketError as error:
        return Costs(), error
