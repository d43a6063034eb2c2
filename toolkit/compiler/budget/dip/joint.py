"""Density, gamma and slots together: of what a calibration allows, what is predicted to be best.

At the same density a lower gamma reads less. So of two that are worth choosing the one with the
lower density, which computes less, has the higher gamma: a slower flash lowers gamma, never raises
it, but where a table may not have the memory that it would need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from onnx_passes.ir.facts import Density
from onnx_passes.mask_ffn import count_of, split
from toolkit.compiler.budget.dip.pruned import Pruned
from toolkit.compiler.budget.planned import Planning
from toolkit.compiler.weights.channels import DOWN, UNGATED
from toolkit.offload.legality import BY_MAGNITUDE
from toolkit.offload.planner import Planner
from toolkit.plan.schema import Gather, Plan, Step

TRIED = 256  # records that are computed together, while points are compared: as is usual for DIP


@dataclass(frozen=True)
class Rated:
    """A point, and what is predicted of it.

    seconds  of a token, within a budget
    nbytes   that it takes; of a rate the least that gives it
    """

    point: Pruned
    seconds: float
    nbytes: int


def best_of(
    points: Sequence[Pruned],
    plan_of: Callable[[Pruned], Planning],
    goal: int | float,
    most: float,
) -> Rated | None:
    """The fastest in so many bytes (int); or of those that give so many tokens/s (float) the one
    that takes least. None: no point gives that rate, or costs at most so much with that memory.

    Of equal ones the first counts.
    """
    found = list(_rated(points, plan_of, goal, most))
    if isinstance(goal, int):
        return min(found, key=lambda each: each.seconds, default=None)
    return min(found, key=lambda each: each.nbytes, default=None)


def _rated(
    points: Sequence[Pruned],
    plan_of: Callable[[Pruned], Planning],
    goal: int | float,
    most: float,
) -> Iterator[Rated]:
    for point in points:
        planning = plan_of(point)
        planner = compared(planning.planner)
        if isinstance(goal, int):
            room = max(goal - planning.resident, planner.least_bytes)
            share = (room - planner.least_bytes) / max(1, planner.records)
            if not any(low <= min(1.0, share) <= high for low, high in point.shares(most)):
                continue  # with as much of each table in memory it would cost too much
            made = planner.within(min(room, planner.most))
        else:
            found = planner.least(1 / goal)
            if found is None:
                continue
            made = found
        yield Rated(point, made.seconds, planning.resident + made.nbytes)


def compared(planner: Planner) -> Planner:
    """With fewer ways to read: enough to tell points apart."""
    few = [way for way in planner.ways if way.point.cluster == TRIED]
    return replace(planner, ways=few or planner.ways)


def with_density(plan: Plan, density: Density, refit: bool = False) -> Plan:
    """A plan of DIP with another density, whose kernels are the same; its options tell that, and
    whether weights are to be refitted to it."""

    def changed(step: Step) -> Step:
        if not isinstance(step, Gather) or step.select.by != "top":
            return step
        table = plan.tables[step.table]
        shares = split(density.share, _is_gated(plan, step.table))
        k = count_of(shares[table.kind == DOWN], table.count)
        return replace(step, select=replace(step.select, k=k, gamma=density.gamma))

    phases = [replace(p, steps=tuple(map(changed, p.steps))) for p in plan.phases]
    options = {k: v for k, v in plan.model["options"].items() if k not in ("gamma", "refit")}
    aware = density.gamma < 1
    options |= {"sparsity": BY_MAGNITUDE[aware], "density": density.share}
    options |= {"gamma": density.gamma} if aware else {}
    options |= {"refit": True} if refit else {}
    return replace(plan, phases=tuple(phases), model={**plan.model, "options": options})


def _is_gated(plan: Plan, table: int) -> bool:
    """Of the table of inputs, or of the hidden units behind them."""
    number = table - (plan.tables[table].kind == DOWN)
    return plan.tables[number].kind != UNGATED
