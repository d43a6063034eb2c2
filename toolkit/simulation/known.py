"""What is known of a plan before anything is replayed, and the cases that are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from toolkit.compiler.budget.costs import cost_of, facts_of, flash_for, looks_of, middle
from toolkit.compiler.budget.dip.pruned import taken_by
from toolkit.compiler.budget.planned import demands_of, known_costs, unchosen, uses_by_ids
from toolkit.compiler.calibrated import uses_of
from toolkit.compiler.options import options_of
from toolkit.errors import PocketError
from toolkit.offload.flash_model import Flash
from toolkit.offload.orders import importance_of, order_of
from toolkit.offload.points import choose_point, memory_of, under_policy
from toolkit.offload.policies import POLICIES, Floats32
from toolkit.offload.prediction.ahead_time import LookAhead
from toolkit.offload.prediction.token_time import Costs
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Gather, Plan, Point, Prefetch
from toolkit.predictors.layer import Use
from toolkit.simulation.replay import BELADY, Early, Held

WINDOWED = tuple(each.name for each in POLICIES if each.expires)


@dataclass(frozen=True)
class Case:
    """A row of the result.

    window  steps of one that doesn't adapt; None: as the policy has it
    """

    point: Point
    policy: str
    selector: str
    window: int | None = None

    @property
    def kept_by(self) -> str:
        """The policy as it is asked for."""
        return self.policy if self.window is None else f"{self.policy}:{self.window}"


@dataclass(frozen=True)
class Known:
    """Of a plan: its tables' lists, and frequencies by record; none where no calibration is left.

    seconds  of a token on its device; `unknown`: why these aren't known
    """

    plan: Plan
    tables: tuple[Held, ...]
    often: tuple[Floats32, ...]
    flash: Flash
    costs: Costs
    unknown: PocketError | None

    @classmethod
    def of(cls, path: Path, plan: Plan, flash: str | None) -> Known:
        """Of the plan in a folder; raises PocketError where it has no tables, or no such flash."""
        if not plan.tables:
            because = "all of its weights lie in memory"
            hint = "compile the model with --memory, say 60%"
            raise PocketError(f"{path} reads nothing from flash", because, hint)
        uses = _uses(plan)
        demands = demands_of(plan, uses) if uses else unchosen(plan)
        costs, unknown = known_costs(plan, facts_of(plan), demands)
        looks = [] if unknown is not None else _looks(plan)
        often = tuple(np.sort(use.frequency)[::-1] for use in uses)
        early = _early(plan, looks)
        numbers = range(len(plan.tables))
        lists = [_lists(path, plan, number, early.get(number)) for number in numbers]
        return cls(plan, tuple(lists), often, flash_for(facts_of(plan), flash), costs, unknown)

    @property
    def aware(self) -> bool:
        """Whether what is chosen hangs on what lies in memory."""
        rules = [gather.select for phase in self.plan.phases for gather in phase.gathers()]
        return any(rule.by == "top" and rule.gamma < 1 for rule in rules)

    def case(
        self, memory: str | None, policy: str, selector: str, window: int | None = None
    ) -> Case:
        """The point that a run with this memory would keep to, under another policy."""
        point = choose_point(self.plan, memory_of(self.plan, memory))
        if policy != BELADY:
            point = under_policy(self.plan, point, policy, self.often)
        return Case(point, policy, selector, window)


def _uses(plan: Plan) -> tuple[Use, ...]:
    """By table, of its records in any order; none where they can't be had."""
    try:
        options = options_of(plan)
        if options.calibration is not None and options.density is not None:
            found = taken_by(options.calibration, options.density)
        else:
            found = uses_of(options.calibration, options.recall)
    except PocketError:
        return ()
    if found:
        found += tuple(use for _, use in sorted(uses_by_ids(plan).items()))
    counts = [len(use.frequency) for use in found]
    return found if counts == [table.count for table in plan.tables] else ()


def _looks(plan: Plan) -> list[LookAhead]:
    phase = token_phase(plan)
    if phase is None or not phase.prefetches():
        return []
    return looks_of(cost_of(plan, facts_of(plan)), phase, middle(plan))


def _early(plan: Plan, looks: Sequence[LookAhead]) -> dict[int, Early]:
    """By table, what reads it ahead where one token is fed."""
    every = [each for phase in plan.phases for each in phase.prefetches()]
    phase = token_phase(plan)
    steps = () if phase is None else phase.steps
    look_of, found = {look.table: look for look in looks}, dict[int, Early]()
    for step, behind in pairwise(steps):
        if isinstance(step, Prefetch) and isinstance(behind, Gather):
            number = next(i for i, each in enumerate(every) if each is step)
            count = plan.tables[behind.table].count
            found[step.table] = Early(number, behind.table, count, look_of.get(step.table))
    return found


def _lists(path: Path, plan: Plan, number: int, early: Early | None) -> Held:
    table = plan.tables[number]
    return Held(number, table, order_of(path, plan, table), importance_of(path, plan, table), early)
