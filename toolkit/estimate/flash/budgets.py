"""The points of a plan, or of those that compiles would make, and how their records are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.compiler.budget.costs import flash_for
from toolkit.compiler.budget.gather_time import GatherTime
from toolkit.compiler.budget.planned import BUDGETS, demands_of, unchosen, uses_by_ids
from toolkit.compiler.calibrated import uses_of
from toolkit.compiler.cost.phase_cost import PhaseCost
from toolkit.compiler.cost.rates import Rates
from toolkit.compiler.options import options_of
from toolkit.compiler.pipeline import FlashStructure
from toolkit.devices.match import Profile
from toolkit.errors import PocketError
from toolkit.offload.flash_model import Flash
from toolkit.offload.orders import order_of
from toolkit.offload.points import choose_point, memory_of, whole_bytes
from toolkit.offload.prediction.demand import Demand
from toolkit.plan.amount import bytes_of
from toolkit.plan.origin import noted
from toolkit.plan.schema import Plan, Point, Table
from toolkit.predictors.folder import Folder
from toolkit.predictors.layer import Use


@dataclass(frozen=True)
class Budgets:
    """What memory a plan can be given.

    plan     with tables, as it is read
    usual    points that are told of where nobody asks for others
    at       the point within so much memory, as it is typed
    demands  by table: how a token needs it
    known    whether these are; else all records are taken to be needed, which is the most
    flash    that is read; `dense`: bytes of the plan without tables; None: nobody knows
    own      whether a compile would make a plan of its own for each point
    """

    plan: Plan
    usual: Sequence[Point]
    at: Callable[[str], Point]
    demands: Sequence[Demand]
    known: bool
    flash: Flash
    dense: int | None = None
    own: bool = False

    def enough(self, memory: str) -> bool:
        """Whether all of the model fits into so much memory without any table."""
        return self.dense is not None and bytes_of(memory, self.dense) >= self.dense

    def times(self, facts: Profile, rates: Rates) -> GatherTime:
        """Of its gathers on a device."""
        every = unchosen(self.plan)
        return GatherTime(PhaseCost(self.plan, facts, rates), self.flash, self.demands, every)


def of_plan(
    path: Path, plan: Plan, facts: Profile, flash: str | None, calibration: str | Path | None
) -> Budgets:
    """Of a plan that is there; its points stay as they were compiled."""
    whole = whole_bytes(plan)
    last = choose_point(plan, whole)
    alike = (p for p in plan.points if p.flash == last.flash)  # others are for a slower flash
    usual = [*(p for p in alike if p.memory < last.memory), last]
    read = flash_for(facts, flash)
    uses = _uses_of_plan(path, plan, calibration)
    demands, known = _demands(plan, uses)

    def at(memory: str) -> Point:
        return choose_point(plan, memory_of(plan, memory))

    return Budgets(plan, usual, at, demands, known, read)


def of_model(made: FlashStructure, facts: Profile, flash: str | None) -> Budgets:
    """Of the plans that compiles would make: each budget has its own."""
    planning, plan = made.found.planning, made.plan
    least, whole = sum(made.found.needs(plan).values()), made.found.whole

    def at(memory: str) -> Point:
        return made.point(bytes_of(memory, made.dense))

    rooms = [least + (whole - least) * n // (BUDGETS - 1) for n in range(BUDGETS)]
    usual = [made.point(each) for each in rooms]
    if planning is None:
        demands, known = _demands(plan, None)
    else:
        demands, known = list(planning.planner.demands), True
    read = flash_for(facts, flash)
    return Budgets(plan, usual, at, demands, known, read, made.dense, own=True)


def _demands(plan: Plan, uses: Sequence[Use] | None) -> tuple[list[Demand], bool]:
    """By table, and whether they are known: where every token needs all, nobody must tell."""
    if uses is not None:
        return demands_of(plan, uses), True
    chosen = any(g.select.by not in ("all", "ids") for p in plan.phases for g in p.gathers())
    return unchosen(plan), not chosen


def _uses_of_plan(path: Path, plan: Plan, calibration: str | Path | None) -> list[Use] | None:
    """By table, in the order of its records; None where no calibration tells."""
    options = options_of(plan)
    wanted = calibration or options.calibration
    if wanted is None or (calibration is None and not Path(wanted).is_dir()):
        return None
    if own := noted(plan, "sha256"):
        hint = "name the calibration of the plan's model"
        Folder(Path(wanted)).finished_for(own, "the plan's", hint)
    uses, ids = uses_of(str(wanted), options.recall), uses_by_ids(plan)
    networks = [table for i, table in enumerate(plan.tables) if i not in ids]
    if len(uses) != len(networks):
        because = f"it has {len(uses)} networks, {len(networks)} of them are in flash"
        hint = "estimate the model: pocketcl estimate SRC --calibration DIR"
        raise PocketError(f"{path} doesn't tell which network each table is of", because, hint)
    ordered = iter(_ordered(path, plan, networks, uses))
    return [ids[i] if i in ids else next(ordered) for i in range(len(plan.tables))]


def _ordered(
    path: Path, plan: Plan, networks: Sequence[Table], uses: Sequence[Use]
) -> Iterator[Use]:
    """By the records of each network."""
    for table, use in zip(networks, uses, strict=True):
        order = order_of(path, plan, table)
        yield use.of(np.arange(table.count) if order is None else order)
