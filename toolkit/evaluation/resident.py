"""What of a plan's tables lies in memory, where answers depend on that."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opencl_kernels.formats import Array
from toolkit.errors import PocketError
from toolkit.offload.orders import order_of
from toolkit.offload.points import AUTO, choose_point, memory_of
from toolkit.plan.schema import Plan


def chooses_by_magnitude(plan: Plan) -> bool:
    """Whether a token is computed with what is greatest alone."""
    return any(g.select.by == "top" for phase in plan.phases for g in phase.gathers())


def predicts(plan: Plan) -> bool:
    """Whether a token is computed with what scores are above thresholds."""
    return bool(plan.tables) and plan.model.get("options", {}).get("recall") is not None


def all_resident(plan: Plan, memory: int | str | None) -> bool:
    """Whether a run keeps all records in memory, which is given as much."""
    if memory == AUTO or not plan.tables:
        return not plan.tables
    point = choose_point(plan, memory_of(plan, memory))
    return all(n == table.count for n, table in zip(point.pinned, plan.tables, strict=True))


def resident_of(path: Path, plan: Plan, memory: int | str | None) -> tuple[Array, ...]:
    """Bool by index, of each table; none where answers are the same whatever lies in memory.

    memory  as a run is given it. Raises PocketError where it says too little.
    """
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    if all(gather.select.gamma == 1 for gather in gathers):
        return ()
    if memory == AUTO:
        because = "what is computed depends on how much memory there is"
        raise PocketError("--memory auto can't be verified here", because, "--memory 60%, or bytes")
    point = choose_point(plan, memory_of(plan, memory))
    found = []
    for table, pinned in zip(plan.tables, point.pinned, strict=True):
        order = order_of(path, plan, table)
        near = np.zeros(table.count, bool)
        near[np.arange(pinned) if order is None else order[:pinned]] = True
        found.append(near)
    return tuple(found)
