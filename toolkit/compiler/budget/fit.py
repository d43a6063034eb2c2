"""A plan within a budget: all in memory where that fits, else with networks in flash."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_passes import Facts, code_records, mask_ffn
from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.analysis.matrices import find_matrices
from onnx_passes.code_records import REQUANTIZED
from onnx_passes.ir.facts import Mask
from onnx_passes.ir.infer import infer
from opencl_kernels.formats import Array
from toolkit.compiler.budget.needs import needs, slot_bytes
from toolkit.compiler.budget.planned import Planning, Use
from toolkit.compiler.budget.point import within
from toolkit.compiler.budget.sparsity import selectors_of
from toolkit.compiler.calibrated import orders_of
from toolkit.compiler.weights.records import RecordTables, tables_of
from toolkit.compiler.weights.table import WeightTable
from toolkit.errors import PocketError
from toolkit.offload.points import under_policy
from toolkit.plan.amount import bytes_of, is_share
from toolkit.plan.schema import Plan
from toolkit.tables import size

ENOUGH = 2**50  # bytes, for everything
Lower = Callable[[WeightTable, RecordTables], Plan]  # the model, with tables


@dataclass(frozen=True)
class Goal:
    """What a plan is to be; without `memory` the least that gives `rate` tokens a second.

    flash  that it is planned for; None: the device's
    masks  of the networks that are to be in flash; a plan that needs none is not masked
    uses   of their neurons; none where there is no calibration
    sparsity, policy  as Options has them
    importances  of their neurons, where the policy needs them
    """

    memory: str | None
    rate: float | None = None
    flash: str | None = None
    masks: tuple[Mask | None, ...] = ()
    uses: tuple[Use, ...] = ()
    sparsity: str | None = None
    policy: str | None = None
    importances: tuple[Array, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """A plan, its weights and its tables, and what `compile --json` tells of the budget."""

    plan: Plan
    table: WeightTable
    tables: RecordTables | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def fitted(model: ir.Model, dense: Fitted, goal: Goal, table: WeightTable, lower: Lower) -> Fitted:
    """The plan that reaches a goal.

    dense  that without a budget
    table  for the weights of another one, of the same device
    """
    masks = _masks(model, goal)
    whole = sum(_needs(model, dense).values())
    budget = None if goal.memory is None else bytes_of(goal.memory, whole)
    if budget is not None and whole <= budget:
        return replace(dense, figures={"budget_bytes": budget, "resident_bytes": whole})
    replace(Facts.of(model), records=True, masks=masks).note(model)
    if mask_ffn(model).rewrites:
        infer(model)
    code_records(model)
    ffns, missed = find_ffns(model)
    orders = orders_of(often for often, _ in goal.uses)
    tables = tables_of(ffns, missed, table, orders, goal.importances, goal.sparsity == "all")
    if not tables.found:
        raise _nothing(budget or whole, whole, tables)
    made = Fitted(lower(table, tables), table, tables)
    weights, head = _weight_bytes(model, table)
    share = budget / whole if budget is not None and is_share(goal.memory or "") else 0
    plan = within(made.plan, weights, head, budget or ENOUGH, whole, share)
    resident, predicted = sum(needs(plan, weights, head).values()), dict[str, Any]()
    if goal.uses:
        planning = Planning.of(plan, resident, _uses(ffns, tables, goal), goal.flash)
        if budget is None:
            budget = planning.least(goal.rate or 0)
        if budget >= whole:  # what is all in memory needs no slots beside it
            return replace(dense, figures={"budget_bytes": budget, "resident_bytes": whole})
        plan = planning.within(budget)
        predicted = {"rate": goal.rate, **planning.figures(plan)}
    assert budget is not None  # a rate goes with a calibration
    if goal.policy is not None:
        often = [each for each, _ in _uses(ffns, tables, goal)] if goal.uses else []
        points = (under_policy(plan, point, goal.policy, often) for point in plan.points)
        plan = replace(plan, points=tuple(points))
    figures = predicted | _figures(model, plan, weights, head, budget, tables)
    return replace(made, plan=plan, figures=figures)


def _masks(model: ir.Model, goal: Goal) -> tuple[Mask | None, ...]:
    """Of the networks whose neurons are to be predicted. Raises where a selector is illegal."""
    ffns, _ = find_ffns(model)
    known = [mask is not None for mask in goal.masks] or [False] * len(ffns)
    if len(known) != len(ffns):
        return goal.masks  # of another model: who inserts them says so
    selectors = selectors_of(ffns, goal.sparsity, known)
    pairs = zip(goal.masks, selectors, strict=False)
    return tuple(mask if by == "lowrank" else None for mask, by in pairs)


def _uses(ffns: Sequence[Ffn], tables: RecordTables, goal: Goal) -> list[Use]:
    """Of each table, of its records in their order."""
    pairs = zip(ffns, goal.uses, strict=True)
    by_network = {id(ffn): (np.sort(often)[::-1], again) for ffn, (often, again) in pairs}
    return [by_network[id(tabled.ffn)] for tabled in tables.found]


def _needs(model: ir.Model, made: Fitted) -> dict[str, int]:
    return needs(made.plan, *_weight_bytes(model, made.table))


def _weight_bytes(model: ir.Model, table: WeightTable) -> tuple[int, int]:
    """Of all weights that lie in memory, and of embedding and head among them."""
    ends = {matrix.value for matrix in find_matrices(model) if matrix.word}
    return sum(source.nbytes for source in table.sources), table.bytes_of(ends)


def _figures(
    model: ir.Model, plan: Plan, weights: int, head: int, budget: int, tables: RecordTables
) -> dict[str, Any]:
    point = plan.points[-1]
    named = model.graph.initializers.values()
    return {
        "budget_bytes": budget,
        "resident_bytes": sum(needs(plan, weights, head).values()),
        "resident": needs(plan, weights, head),
        "slot_bytes": slot_bytes(plan.tables, point.slots),
        "slot_share": sum(point.slots) / sum(table.count for table in plan.tables),
        "flash_bytes": sum(table.count * table.stride for table in plan.tables),
        "selector": _selector(plan, tables),
        "policy": point.policy,
        "requantized": sorted(v.name or "" for v in named if REQUANTIZED in v.metadata_props),
        "resident_ffns": [str(missed) for missed in tables.missed],
    }


def _selector(plan: Plan, tables: RecordTables) -> str:
    """As the plan's gathers have it: of several texts at once all is computed."""
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    chosen = {gather.table for gather in gathers if gather.select.by != "all"}
    if any(tables.found[table].ffn.chosen is not None for table in chosen):
        return "lowrank"
    return "gate" if chosen else "all"


def _nothing(budget: int, whole: int, tables: RecordTables) -> PocketError:
    reasons = "; ".join(str(missed) for missed in tables.missed[:3])
    return PocketError(
        f"{size(budget)} is less than the {size(whole)} of this plan; none of it can be in flash",
        reasons or "the graph has no feed-forward network whose matrices are constant",
        "add --weights e0m4 (or f16), or leave --memory out",
    )
