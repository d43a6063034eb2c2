"""Points of a plan whose neurons' frequencies are known: who gets how much memory, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opencl_kernels.formats import Array
from toolkit.compiler.budget.costs import costs_of, flash_for
from toolkit.errors import PocketError
from toolkit.offload.planner import Costs, Demand, Planned, Planner
from toolkit.plan.schema import Plan, Point

BUDGETS = 8  # points of a plan, at most
Use = tuple[Array, Array | None]  # of a table: frequencies by record, descending; what recurs


@dataclass(frozen=True)
class Planning:
    """Of a plan with a point that says how reads are made; `resident`: what else takes memory.

    unknown  why the time of computing is not known; predicted times are then of reads alone
    """

    plan: Plan
    resident: int
    planner: Planner
    unknown: PocketError | None

    @classmethod
    def of(cls, plan: Plan, resident: int, uses: Sequence[Use], flash: str | None) -> Planning:
        """For a flash of this name; `uses`: by table."""
        read, unknown = flash_for(plan, flash), None
        plan = replace(plan, points=(replace(plan.points[0], gap=read.gap),))
        try:
            costs = costs_of(plan)
        except PocketError as error:
            costs, unknown = Costs(), error
        chosen = {g.table for p in plan.phases for g in p.gathers() if g.select.by != "all"}
        demands = [
            Demand(table, *use) if i in chosen else Demand(table, np.ones(table.count))
            for i, (table, use) in enumerate(zip(plan.tables, uses, strict=True))
        ]
        return cls(plan, resident, Planner(demands, plan.points[0], read, costs), unknown)

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
            f"with all weights in memory {best:.3g} tokens/s are predicted",
            f"--rate {int(best * 100) / 100:g}, or --memory 100%",
        )

    def within(self, budget: int) -> Plan:
        """The plan with points up to this budget, which is that of the last one."""
        room = budget - self.resident
        rooms = [room * n // (BUDGETS - 1) for n in range(BUDGETS)]
        points = {point.memory: point for point in map(self._point, rooms)}
        return replace(self.plan, points=tuple(points[memory] for memory in sorted(points)))

    def figures(self, plan: Plan) -> dict[str, Any]:
        """What is predicted of the last of its points, for `--json`."""
        point, flash = plan.points[-1], self.planner.flash
        found = self._planned(point.memory - self.resident)
        rate = 1 / found.seconds if self.unknown is None and found.seconds else None
        return {
            "flash": flash.name,
            "policy": point.policy,
            "predicted_tokens_per_s": rate,
            "predicted_read_bytes": round(found.read_bytes),
            "predicted_read_s": found.read_seconds,
        }

    def _planned(self, room: int) -> Planned:
        return self.planner.within(min(room, self.planner.most))

    def _point(self, room: int) -> Point:
        found = self._planned(room)
        return replace(
            self.plan.points[0],
            memory=self.resident + found.nbytes,
            slots=found.slots,
            pinned=found.pinned,
            policy=found.policy,
            predicted_s=0.0 if self.unknown is not None else found.seconds,
        )
