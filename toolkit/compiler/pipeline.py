"""Compile: import -> passes -> lowering -> memory -> plan."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir

import onnx_passes
from onnx_passes import Facts
from onnx_passes.choose_branches import noted_flag
from opencl_kernels import source_text
from opencl_kernels.device_class import CLASSES
from toolkit.compiler.budget.costs import facts_of as profile_of
from toolkit.compiler.budget.costs import flash_for
from toolkit.compiler.budget.fit import Fitted, Goal, InFlash, dense_bytes, fitted, legal
from toolkit.compiler.budget.fit import in_flash as tables_of_all
from toolkit.compiler.budget.planned import unchosen
from toolkit.compiler.budget.short_prompt import with_short_prompt
from toolkit.compiler.calibrated import (
    importances_of,
    masks_of,
    point_figures,
    uses_of,
)
from toolkit.compiler.calibration.ranges import Ranges
from toolkit.compiler.cooperative import with_steps
from toolkit.compiler.damage import blaming
from toolkit.compiler.kinds.assemble import assemble
from toolkit.compiler.options import Options, choose
from toolkit.compiler.report import CompileReport, figures_of
from toolkit.compiler.rewriting.passes import rewrite_with, rewritten
from toolkit.compiler.source import Source, page_release
from toolkit.compiler.thinned import thinned_of
from toolkit.compiler.tuned import tuned_table
from toolkit.compiler.vectors.tests import untested_kernels, with_tests
from toolkit.compiler.weights.records import RecordTables
from toolkit.compiler.weights.table import WeightTable
from toolkit.devices.match import Profile
from toolkit.devices.resolve import resolve_device
from toolkit.errors import PocketError
from toolkit.foreign.find_model import plan_name
from toolkit.offload.legality import BY_MAGNITUDE
from toolkit.plan.amount import bytes_of
from toolkit.plan.reader import from_json
from toolkit.plan.schema import Plan, Point
from toolkit.plan.text import to_json
from toolkit.plan.write import check_out, laid_out, shard_count, tables_laid_out, write_plan

Progress = Callable[[str], None]


def compile(
    source: Source,
    out: Path | None = None,
    *,
    device: str | None = None,
    serial: str | None = None,
    tuned: bool = True,
    calibrate: Path | str | None = None,
    progress: Progress | None = None,
    **chosen: Any,
) -> CompileReport:
    """Compile a model to a plan folder; `progress` gets a line for each step.

    out     the plan's folder; by default NAME.plan in the current one
    serial  which phone, with `device="phone"`
    tuned   use knobs that `pocketcl tune` found for the device
    calibrate  a file of text on which the values are measured that a plan would store as halves,
               or "off"; by default a text of our own
    chosen  options of `compiler.options.choose`: weights, max_context, group, …
    """
    tell = progress or (lambda _: None)
    # refuse what can be refused before the model is read
    out = check_out(Path(plan_name(source.onnx_path)) if out is None else out)
    profile = resolve_device(device, serial)  # for a phone this may build the runner
    started = time.perf_counter()
    options = choose(source, profile, **chosen)
    measure = partial(_ranges, source, options, calibrate, tell)
    made = _fastest(source, profile, options, tuned, tell, measure)
    made = _refitted(made, source, profile, tuned, tell, measure)
    options = made.options
    model, plan, table = made.model, made.fitted.plan, made.fitted.table
    in_flash = [] if made.fitted.tables is None else made.fitted.tables.sources
    plan, kernels, alone = with_steps(plan, _kernel_texts(plan))
    plan = _with_short_prompt(plan, made.fitted, options)
    # weights are read, quantised and packed while they are written
    doing = "quantising and packing weights" if options.weights == "e0m4" else "packing weights"
    tell(doing)
    with _reading_weights(source):
        packing = _packing(tell, doing)
        # a processor's driver is trusted: nothing would test its kernels
        finish = None if CLASSES[profile["class"]].is_cpu else with_tests
        files = dict(source.files)
        plan = write_plan(out, plan, table.sources, kernels, files, packing, finish, in_flash)
    seconds = time.perf_counter() - started
    figures = figures_of(plan, model, made.nodes_before, made.passes, seconds)
    figures["cooperative"] = alone or "decode"
    figures |= made.fitted.figures | made.ranges.figures(plan)
    if made.fitted.figures.get("selector", "ids") != "ids":  # networks are read from flash
        taken = options.calibration, options.recall, chosen.get("max_loss")
        figures |= point_figures(*taken, options.sparsity)
    if finish and (untested := untested_kernels(plan)):
        figures["untested"] = untested
    if source.embedding is not None:
        figures["embedding"] = str(source.embedding)
    return CompileReport(out, plan, figures)


def structure(
    source: Source,
    profile: Profile,
    options: Options,
    *,
    tuned: bool = True,
    progress: Progress | None = None,
) -> Plan:
    """The plan that a compile would write, as it would be read, without its files.

    Weights are listed, not read.
    """
    made = _lowered(source, profile, options, tuned, progress or (lambda _: None))
    return _as_read(made.fitted.plan, made.fitted.table, made.fitted.tables)


@dataclass(frozen=True)
class FlashStructure:
    """The plans that compiles to any budget would write, without their files.

    dense  bytes of the plan that has no tables
    plan   as it would be read, with a point that keeps no record in memory
    """

    dense: int
    found: InFlash
    plan: Plan

    def point(self, budget: int) -> Point:
        """That of a plan with this budget; raises where that is too little."""
        return self.found.point(budget, self.dense)


def flash_structure(
    source: Source, profile: Profile, options: Options, progress: Progress | None = None
) -> FlashStructure:
    """The model with its networks in flash, whatever memory `options` gives it."""
    made = _lowered(source, profile, options, True, progress or (lambda _: None), ends=False)
    assert made.in_flash is not None  # options have a budget
    found = made.in_flash.made
    assert found.tables is not None
    dense = dense_bytes(made.model, made.fitted)
    return FlashStructure(dense, made.in_flash, _as_read(found.plan, found.table, found.tables))


def _with_short_prompt(plan: Plan, fitted: Fitted, options: Options) -> Plan:
    if not plan.tables:
        return plan
    flash = flash_for(profile_of(plan), options.flash)
    return with_short_prompt(plan, fitted.demands or unchosen(plan), flash)


def _as_read(plan: Plan, table: WeightTable, tables: RecordTables | None) -> Plan:
    """As a plan would be read that is written so."""
    plan, _, _ = with_steps(plan, _kernel_texts(plan))
    weights = laid_out(table.sources)
    laid = tables_laid_out([] if tables is None else tables.sources, shard_count(weights))
    return from_json(to_json(replace(plan, weights=tuple(weights), tables=tuple(laid))))


@dataclass(frozen=True)
class _Lowered:
    """A model on its way: what the passes made of it, and the plan without weights and files."""

    model: ir.Model
    nodes_before: int
    passes: list[dict[str, Any]]
    fitted: Fitted
    ranges: Ranges
    options: Options
    in_flash: InFlash | None = None


def _fastest(
    source: Source,
    profile: Profile,
    options: Options,
    tuned: bool,
    tell: Progress,
    measure: Callable[[], Ranges],
) -> _Lowered:
    """Where nobody says what selects, and DIP may: what is predicted to be faster.

    With a rate: what needs less memory for it. DIP keeps to one policy: no other is asked for.
    """
    lowered = partial(_lowered, source, profile, tuned=tuned, tell=tell, measure=measure)
    may = options.sparsity is None and options.max_loss is not None
    if not may or options.policy not in (None, "static"):
        return lowered(options)
    thinned = replace(options, sparsity=BY_MAGNITUDE[-1])
    try:
        made = lowered(options)
    except PocketError:
        if options.rate is None:
            raise
        with suppress(PocketError):  # what is told is what all of it lacks
            return lowered(thinned)
        raise
    tables, cost = made.fitted.tables, _cost(made.fitted, options)
    if tables is None or not tables.networks or cost is None:  # no network is read from flash
        return made
    try:
        other = lowered(thinned)
    except PocketError:  # no point of DIP goes with this budget
        return made
    others = _cost(other.fitted, options)
    return other if others is not None and others < cost else made


def _cost(fitted: Fitted, options: Options) -> float | None:
    """Seconds of a token, or bytes of memory where it is asked for a rate; None: not predicted."""
    if fitted.seconds is None or options.rate is None:
        return fitted.seconds
    return fitted.plan.points[-1].memory


def _refitted(
    made: _Lowered,
    source: Source,
    profile: Profile,
    tuned: bool,
    tell: Progress,
    measure: Callable[[], Ranges],
) -> _Lowered:
    """Where the point that was taken is one of refitted matrices: the model anew, with these."""
    taken = made.fitted.plan.model.get("options", {})
    if not taken.get("refit") or not made.fitted.plan.tables:
        return made
    names = ("sparsity", "density", "gamma", "refit")
    options = replace(made.options, **{name: taken.get(name) for name in names})
    return _lowered(source, profile, options, tuned, tell, measure)


def _lowered(
    source: Source,
    profile: Profile,
    options: Options,
    tuned: bool,
    tell: Progress,
    measure: Callable[[], Ranges] = Ranges,
    ends: bool = True,
) -> _Lowered:
    """`ends`: in the plan for the budget; else in all that there could be, and the one without."""
    # graph -> graph; whether weights go to flash is known when all of them have been counted
    resident = replace(options, memory=None, rate=None, calibration=None)
    if options.refit:  # of the calibration only that
        resident = replace(resident, calibration=options.calibration, recall=None)
    tell("reading the model")
    with blaming(source.onnx_path):
        model = source.model
        forget, nodes_before = page_release(model), len(model.graph)
        passes = list(rewritten(model, resident, tell))
        if noted_flag(model) is not None:
            from toolkit.compiler.merged import check_branches  # ONNX Runtime takes time to load

            check_branches(source, model)
    ranges = measure()
    # graph -> plan; weights are only listed in the table, not read
    with _reading_weights(source), blaming(source.onnx_path):
        tell("choosing kernels and placing memory")
        weights = partial(WeightTable, options.storage, CLASSES[profile["class"]].layouts, forget)
        knobs = tuned_table(profile["name"]) if tuned else {}
        lower = partial(assemble, model, source, profile)
        table = weights()
        found, in_flash = Fitted(lower(resident, table, knobs, ranges.wide), table), None
        if options.budgeted:

            def with_tables(table: WeightTable, tables: RecordTables) -> Plan:
                # networks as they are without it
                kept = options if tables.networks else replace(resident, max_loss=None)
                return lower(kept, table, knobs, ranges.wide | tables.scores, tables)

            known = options.calibration, options.recall
            wanted = options.memory, options.rate, options.flash
            thinned = thinned_of(options)
            goal = Goal(
                *wanted,
                masks_of(*known, options.calibrated),
                () if thinned.densities else uses_of(*known),
                options.sparsity,
                options.policy,
                importances_of(options.calibration if options.policy == "importance" else None),
                **vars(thinned),
            )
            if ends:
                found = fitted(model, found, goal, weights, with_tables)
            else:
                in_flash = tables_of_all(model, found, legal(model, goal), weights(), with_tables)
                in_flash = in_flash.decided(_amount(options, dense_bytes(model, found)))
    return _Lowered(model, nodes_before, passes, found, ranges, options, in_flash)


def _amount(options: Options, whole: int) -> int | float:
    """Bytes that a plan may take (int), or the rate that it must reach (float)."""
    return options.rate or 0.0 if options.memory is None else bytes_of(options.memory, whole)


def _ranges(
    source: Source, options: Options, calibrate: Path | str | None, tell: Progress
) -> Ranges:
    """How large values become that would be stored as halves."""
    if "f16" not in (options.activations, options.kv):
        return Ranges()
    from toolkit.compiler.calibration.measure import ranges_of  # ONNX Runtime takes time to load

    tell("measuring values in ONNX Runtime")
    as_they_are = replace(options, weights=Facts.weights, keep=())
    return ranges_of(source, partial(rewrite_with, source, as_they_are), options.context, calibrate)


def _kernel_texts(plan: Plan) -> dict[str, str]:
    """Kernels are text files of a plan: path -> text."""
    names = sorted({Path(program.source).name for program in plan.programs})
    return {f"kernels/{name}": source_text(name) for name in names}


@contextmanager
def _reading_weights(source: Source) -> Iterator[None]:
    """Turn errors of lazy weights, which only occur when they are read, into PocketErrors."""
    try:
        yield
    except PocketError:
        raise
    except onnx_passes.GraphError as error:
        raise PocketError(error.what, error.because, error.hint) from None
    except ValueError as error:
        hint = "check the file with onnx.checker, or export it again"
        raise PocketError(
            f"the weights of {source.onnx_path} cannot be read", error, hint
        ) from error


def _packing(tell: Progress, doing: str) -> Callable[[str, int, int], None]:
    return lambda name, done, total: tell(
        f"{doing}: {done / 2**20:.0f} of {total / 2**20:.0f} MiB ({name})"
    )
