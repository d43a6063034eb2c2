"""A plan within a budget: all in memory where that fits, else with the embedding in flash, else
with networks as well."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir

from onnx_passes import Facts, code_records, mask_ffn
from onnx_passes.analysis.embedding import find_embeddings, tied
from onnx_passes.analysis.experts.networks import find_expert_networks
from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.analysis.matrices import find_matrices
from onnx_passes.ir.facts import Density, Mask
from onnx_passes.ir.graph import needed
from onnx_passes.ir.infer import infer
from opencl_kernels.formats import Array
from toolkit.compiler.budget.costs import facts_of, flash_for
from toolkit.compiler.budget.dip.joint import best_of, with_density
from toolkit.compiler.budget.dip.pruned import Pruned
from toolkit.compiler.budget.figures import figures_of
from toolkit.compiler.budget.needs import needs
from toolkit.compiler.budget.planned import Planning, unchosen, uses_by_ids
from toolkit.compiler.budget.point import with_point, within
from toolkit.compiler.budget.sparsity import check_experts, selectors_of
from toolkit.compiler.budget.staging import Prompt
from toolkit.compiler.calibrated import orders_of
from toolkit.compiler.weights.records import RecordTables, Tabled, tables_of
from toolkit.compiler.weights.table import WeightTable
from toolkit.errors import PocketError
from toolkit.offload.points import under_policy
from toolkit.offload.prediction.demand import Demand
from toolkit.offload.prediction.two_phases import in_two
from toolkit.plan.amount import bytes_of, is_share
from toolkit.plan.schema import Plan, Point
from toolkit.plan.table_figures import never_ahead, slot_bytes
from toolkit.predictors.layer import Use
from toolkit.tables import size

Lower = Callable[[WeightTable, RecordTables], Plan]  # the model, with tables


@dataclass(frozen=True)
class Goal:
    """What a plan is to be; without `memory` the least that gives `rate` tokens a second.

    flash  that it is planned for; None: the device's
    masks  of the networks that are to be in flash; a plan that needs none is not masked
    uses   of their neurons; none where there is no calibration
    sparsity, policy  as Options has them
    importances  of their neurons, where the policy needs them
    densities    as Facts has them
    taken        of each network's inputs, then of its units, how DIP takes them
    points       of DIP that a calibration has, of which the best is taken; `max_loss`: at most
    """

    memory: str | None
    rate: float | None = None
    flash: str | None = None
    masks: tuple[Mask | None, ...] = ()
    uses: tuple[Use, ...] = ()
    sparsity: str | None = None
    policy: str | None = None
    importances: tuple[Array, ...] = ()
    densities: tuple[Density, ...] = ()
    taken: tuple[Use, ...] = ()
    points: tuple[Pruned, ...] = ()
    max_loss: float = 0.0

    @property
    def of_networks(self) -> bool:
        """Whether it says how networks are to be read; a calibration tells it, should they be."""
        return self.sparsity is not None or self.policy is not None


@dataclass(frozen=True)
class Fitted:
    """A plan, its weights and its tables, and what `compile --json` tells of the budget.

    demands  by table: how a token needs it, where a calibration tells
    seconds  of a token, as far as they are predicted; None: they aren't
    """

    plan: Plan
    table: WeightTable
    tables: RecordTables | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    demands: Sequence[Demand] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class InFlash:
    """A plan whose networks are in flash, before anyone says how much memory it may take.

    made      with a point that keeps no record in memory
    planning  where it is known how neurons are needed, or all of them are
    weights   bytes of all that lie in memory; `head`: of embedding and head, which are among them
    policy    of all points; None: as it is usual, or planned
    prompt    where no planning has one
    points    of DIP of which one is to be taken, `plan_of` each, for at most `max_loss`;
    pruned    that has been taken
    uses      of neurons of the networks in flash that are predicted
    """

    made: Fitted
    planning: Planning | None
    weights: int
    head: int
    policy: str | None = None
    prompt: Prompt | None = None
    points: tuple[Pruned, ...] = ()
    plan_of: Callable[[Pruned], Planning] | None = None
    max_loss: float = 0.0
    pruned: Pruned | None = None
    uses: tuple[Use, ...] = ()

    def decided(self, goal: int | float) -> InFlash:
        """With the density and gamma that are best for a budget in bytes (int), or for a rate.

        Raises PocketError where no memory gives that rate.
        """
        if self.plan_of is None:
            return self
        best = best_of(self.points, self.plan_of, goal, self.max_loss)
        if best is None and isinstance(goal, int):
            because = "with as much memory each of the calibration's points costs more"
            hint = "another --memory, or a higher --max-loss"
            raise PocketError(f"no density costs at most {self.max_loss:.2%}", because, hint)
        point = self.points[0] if best is None else best.point
        planning = self.plan_of(point)
        if best is None:
            planning.least(float(goal))  # raises, with what there can be
        made = replace(self.made, plan=planning.plan)
        return replace(self, made=made, planning=planning, plan_of=None, pruned=point)

    @property
    def whole(self) -> int:
        """Bytes with all records in memory."""
        plan = self.made.plan
        counts = tuple(table.count for table in plan.tables)
        return sum(self.needs(plan).values()) + slot_bytes(plan, counts)

    def needs(self, plan: Plan) -> dict[str, int]:
        """Bytes besides slots, by what they are for."""
        return needs(plan, self.weights, self.head)

    def within(self, budget: int, whole: int, share: float = 0) -> Plan:
        """With points up to this budget; raises where not even what isn't in flash fits.

        whole  what all takes in memory; `share`: the budget's of it, where it was given so
        """
        point = self._usual(budget, whole, share)
        if self.planning is not None:
            return self.planning.within(budget)
        return replace(self.made.plan, points=(point,))

    def point(self, budget: int, whole: int) -> Point:
        """The last of these points."""
        point = self._usual(budget, whole)
        return point if self.planning is None else self.planning.point(budget)

    def without_ahead(self, numbers: Container[int], lower: Lower) -> InFlash:
        """The same, but nothing is read ahead of these tables."""
        assert self.made.tables is not None
        return self._lowered(self.made.tables.without_ahead(numbers), lower)

    def in_two_phases(self, lower: Lower) -> InFlash:
        """The same, but gates are read first of networks where that is faster."""
        tables, planning = self.made.tables, self.planning
        if planning is None or tables is None:
            return self
        pairs = zip(tables.found, self.uses, strict=False)  # of DIP nothing is predicted
        networks = [(each, use) for each, use in pairs if isinstance(each, Tabled)]
        flash = planning.planner.flash
        numbers = {
            each.table
            for each, use in networks
            if each.first_bytes and in_two(flash, each.first_bytes, each.record.nbytes, use.nonzero)
        }
        return self._lowered(tables.with_first(numbers), lower) if numbers else self

    def _lowered(self, tables: RecordTables, lower: Lower) -> InFlash:
        plan = with_point(lower(self.made.table, tables))
        planning, needed = self.planning, sum(self.needs(plan).values())
        if planning is not None:
            planning = planning.anew(plan, needed)
        return replace(self, made=replace(self.made, plan=plan, tables=tables), planning=planning)

    def _usual(self, budget: int, whole: int, share: float = 0) -> Point:
        """The same share of each network; raises as `within` does."""

        def point(nbytes: int) -> Point:
            plan = within(self.made.plan, self.weights, self.head, nbytes, whole, share)
            return self._under_policy(plan.points[-1])

        return point(budget) if self.prompt is None else self.prompt.staged(budget, point)

    def _under_policy(self, point: Point) -> Point:
        return point if self.policy is None else under_policy(self.made.plan, point, self.policy)


def fitted(
    model: ir.Model, dense: Fitted, goal: Goal, new: Callable[[], WeightTable], lower: Lower
) -> Fitted:
    """The plan that reaches a goal.

    dense  that without a budget
    new    a table for the weights of another one, of the same device
    """
    goal = legal(model, goal)
    whole = dense_bytes(model, dense)
    budget = None if goal.memory is None else bytes_of(goal.memory, whole)
    fits = replace(dense, figures={"budget_bytes": budget, "resident_bytes": whole})
    if budget is not None and whole <= budget:
        return fits
    if budget is not None and not goal.of_networks:
        alone = _rows_alone(model, dense, budget, whole, new(), lower)
        if alone is not None:
            return alone
    found = in_flash(model, dense, goal, new(), lower, budget or whole, whole)
    found = found.decided(goal.rate or 0.0 if budget is None else budget)
    found = found.in_two_phases(lower)
    if budget is None:
        assert found.planning is not None  # a rate goes with a calibration
        budget = found.planning.least(goal.rate or 0)
    share = budget / whole if is_share(goal.memory or "") else 0
    if budget >= whole:  # what is all in memory needs no slots beside it
        return replace(fits, figures={**fits.figures, "budget_bytes": budget})
    plan = found.within(budget, whole, share)
    if never := never_ahead(plan):
        found = found.without_ahead(never, lower)
        plan = found.within(budget, whole, share)
    tables = found.made.tables
    assert tables is not None
    told = {} if found.planning is None else {"rate": goal.rate, **found.planning.figures(plan)}
    told |= _density_figures(goal, found, plan.points[-1], tables.alone)
    figures = told | figures_of(model, plan, found.needs(plan), budget, tables)
    demands = () if found.planning is None else found.planning.planner.demands
    seconds = None if found.planning is None else found.planning.seconds(plan.points[-1])
    return replace(found.made, plan=plan, figures=figures, demands=demands, seconds=seconds)


def _density_figures(goal: Goal, found: InFlash, point: Point, networks: int) -> dict[str, Any]:
    """What is told of DIP: its loss is that of the table whose share in memory costs most."""
    if found.pruned is not None:
        counts = [table.count for table in found.made.plan.tables[:networks]]
        shares = [n / count for n, count in zip(point.slots, counts, strict=False)]
        loss = max(map(found.pruned.loss, shares))
        taken = found.pruned
        figures = {"density": taken.density, "gamma": taken.gamma, "loss": loss}
        return {**figures, "refit": taken.refit}
    return {
        key: value
        for density in goal.densities
        for key, value in (("density", density.share), ("gamma", density.gamma), ("loss", None))
    }


def in_flash(
    model: ir.Model,
    dense: Fitted,
    goal: Goal,
    table: WeightTable,
    lower: Lower,
    budget: int = 0,
    whole: int = 0,
) -> InFlash:
    """The model with its networks and embeddings in flash, by a legal goal.

    budget, whole  for the error where none of it can be; no `whole`: there is no budget
    """
    replace(Facts.of(model), records=True, masks=goal.masks, densities=goal.densities).note(model)
    if mask_ffn(model).rewrites:
        infer(model)
    code_records(model)
    ffns, missed = find_ffns(model)
    orders = orders_of(use.frequency for use in goal.taken or goal.uses)
    tables = tables_of(ffns, missed, table, orders, goal.importances, goal.sparsity == "all")
    networks, alone = find_expert_networks(model)
    for network in networks:
        tables.add_experts(network)
    tables.missed += alone
    _add_embeddings(model, tables, dense.table)
    if not tables.sources:
        raise _nothing(budget, whole, tables)
    plan, sizes = with_point(lower(table, tables)), _weight_bytes(model, table)
    made = Fitted(plan, table, tables)
    if not goal.uses and not goal.taken:
        facts = facts_of(plan)
        prompt = Prompt.of(plan, facts, flash_for(facts, goal.flash), unchosen(plan))
        return InFlash(made, None, *sizes, goal.policy, prompt)
    uses = _uses(ffns, tables, goal, plan)

    def planned(of: Plan, uses: Sequence[Use]) -> Planning:
        least = sum(needs(of, *sizes).values())
        return Planning.of(of, least, uses, goal.flash, policy=goal.policy)

    if goal.uses:
        predicted = tuple(uses[: tables.alone])
        return InFlash(made, planned(plan, uses), *sizes, goal.policy, uses=predicted)

    def plan_of(point: Pruned) -> Planning:
        shares = point.shares(goal.max_loss)
        limited = [replace(use, shares=shares) for use in uses[: tables.alone]]
        thinned = with_density(plan, Density(point.density, point.gamma), point.refit)
        return planned(with_point(thinned), [*limited, *uses[tables.alone :]])

    return InFlash(
        made,
        None,
        *sizes,
        goal.policy,
        points=goal.points,
        plan_of=plan_of,
        max_loss=goal.max_loss,
    )


def _rows_alone(
    model: ir.Model, dense: Fitted, budget: int, whole: int, table: WeightTable, lower: Lower
) -> Fitted | None:
    """With embeddings in flash and networks in memory, where that is enough: a token then reads one
    row, and nothing waits for a layer. None where it isn't."""
    tables = RecordTables(table)
    _add_embeddings(model, tables, dense.table)
    saved = dense.table.bytes_of({needed(rows.node, 0) for rows in tables.rows})
    if not tables.rows or whole - saved > budget:
        return None
    made = Fitted(lower(table, tables), table, tables)
    sizes = _weight_bytes(model, table)
    parts = needs(with_point(made.plan), *sizes)
    if sum(parts.values()) > budget:
        return None
    plan = within(made.plan, *sizes, budget, whole)
    return replace(made, plan=plan, figures=figures_of(model, plan, parts, budget, tables))


def _add_embeddings(model: ir.Model, tables: RecordTables, dense: WeightTable) -> None:
    """Those whose tables no product reads, not even an equal matrix; `dense` knows these."""
    found, missed = find_embeddings(model)
    for node in found:
        if dense.twins(needed(node, 0)):
            missed.append(tied(node))
        else:
            tables.add_rows(node)
    tables.missed += missed


def legal(model: ir.Model, goal: Goal) -> Goal:
    """With masks of only those networks whose neurons are to be predicted; else it raises."""
    networks, _ = find_expert_networks(model)
    check_experts(networks, goal.sparsity, bool(find_ffns(model)[0]))
    return replace(goal, masks=_masks(model, goal, bool(networks)))


def _masks(model: ir.Model, goal: Goal, experts: bool) -> tuple[Mask | None, ...]:
    """Of the networks whose neurons are to be predicted. Raises where a selector is illegal."""
    ffns, _ = find_ffns(model)
    known = [mask is not None for mask in goal.masks] or [False] * len(ffns)
    if len(known) != len(ffns):
        return goal.masks  # of another model: who inserts them says so
    selectors = selectors_of(ffns, goal.sparsity, known, experts)
    pairs = zip(goal.masks, selectors, strict=False)
    return tuple(mask if by == "lowrank" else None for mask, by in pairs)


def dense_bytes(model: ir.Model, dense: Fitted) -> int:
    """What a plan without tables takes."""
    return sum(needs(dense.plan, *_weight_bytes(model, dense.table)).values())


def _uses(ffns: Sequence[Ffn], tables: RecordTables, goal: Goal, plan: Plan) -> list[Use]:
    """Of each table, of its records in their order; of rows as often as words of a text come."""
    others = [use for _, use in sorted(uses_by_ids(plan).items())]
    if goal.taken:
        found = {id(tabled.ffn) for tabled in tables.found}
        numbers = [2 * i + end for i, f in enumerate(ffns) if id(f) in found for end in range(2)]
        taken = [goal.taken[number] for number in numbers]
        ordered = zip(taken, orders_of(use.frequency for use in taken), strict=True)
        return [*(use.of(order) for use, order in ordered), *others]
    by_network = {id(ffn): use for ffn, use in zip(ffns, goal.uses, strict=True)}
    uses = [by_network[id(tabled.ffn)] for tabled in tables.found]
    orders = orders_of(use.frequency for use in uses)
    networks = [use.of(order) for use, order in zip(uses, orders, strict=True)]
    return [*networks, *others]


def _weight_bytes(model: ir.Model, table: WeightTable) -> tuple[int, int]:
    """Of all weights that lie in memory, and of embedding and head among them."""
    ends = {matrix.value for matrix in find_matrices(model) if matrix.word}
    return sum(source.nbytes for source in table.sources), table.bytes_of(ends)


def _nothing(budget: int, whole: int, tables: RecordTables) -> PocketError:
    reasons = "; ".join(str(missed) for missed in tables.missed[:3])
    because = reasons or "the graph has no feed-forward network whose matrices are constant"
    other = "add --weights e0m4 (or f16), or"
    if not whole:  # nobody has set a budget: points for any are asked for
        what = "none of this plan can be in flash"
        return PocketError(what, because, f"{other} leave --flash and --calibration out")
    what = f"{size(budget)} is less than the {size(whole)} of this plan; none of it can be in flash"
    return PocketError(what, because, f"{other} leave --memory out")
