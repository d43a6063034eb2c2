"""From the rewritten graph of a model to its plan: every phase lowered, its memory placed."""

from dataclasses import replace

import onnx_ir as ir

from opencl_kernels.device_class import CLASSES, DeviceClass
from opencl_kernels.tuned import Table
from toolkit.compiler.cost.predicted import with_times
from toolkit.compiler.kinds.kind import Frame, ModelKind, PhaseKind, Wide
from toolkit.compiler.kinds.language_model import LANGUAGE_MODEL
from toolkit.compiler.lowering.builder import PhaseBuilder, compact
from toolkit.compiler.lowering.table import JOINING, lower_nodes
from toolkit.compiler.lowering.variants import Programs, Settings
from toolkit.compiler.memory.phases import place_phase
from toolkit.compiler.options import Options
from toolkit.compiler.source import Source
from toolkit.compiler.weights.records import RecordTables
from toolkit.compiler.weights.table import WeightTable
from toolkit.devices.driver_faults import faults_met_by
from toolkit.devices.match import Profile
from toolkit.devices.profiles import driver_faults
from toolkit.plan.schema import DriverFault, Phase, Plan
from toolkit.version import __version__

KINDS: tuple[ModelKind, ...] = (LANGUAGE_MODEL,)


def assemble(
    model: ir.Model,
    source: Source,
    profile: Profile,
    options: Options,
    table: WeightTable,
    tuned: Table,
    wide: Wide = frozenset(),
    tables: RecordTables | None = None,
) -> Plan:
    """Lower every phase; weights and files are filled in when the plan is written.

    wide    names of the values that are too large for halves
    tables  of weights that lie in flash; the plan has no points yet
    """
    kind = next(kind for kind in KINDS if kind.fits(model))
    frame, programs = kind.frame(model, source, options, wide), Programs()
    settings = Settings(
        device_class=CLASSES[profile["class"]],
        symbols=frame.symbols,
        batch=options.batch,
        context=options.context,
        activations=options.activations,
        kv=options.kv,
        compute_units=profile["compute_units"],
        local_memory=profile["local_memory"],
        tuned=tuned,
        wide=wide,
    )
    phases = tuple(
        lower_phase(phase, frame, model, settings, table, programs, profile["align"], tables)
        for phase in frame.phases
    )
    plan = Plan(
        generator=f"pocketcl {__version__}",
        model={"kind": kind.name, **frame.facts},
        profile=profile,
        symbols=frame.symbols,
        buffers=frame.buffers,
        states=frame.states,
        weights=(),
        files=(),
        programs=tuple(programs.index),
        phases=phases,
        tables=() if tables is None else tables.tables,
    )
    plan = replace(plan, drivers=_driver_faults(plan, settings.device_class))
    return plan if settings.device_class.is_cpu else with_times(plan)


def _driver_faults(plan: Plan, device_class: DeviceClass) -> tuple[DriverFault, ...]:
    """Those that a plan for GPUs carries: no driver of a processor is known for any."""
    return () if device_class.is_cpu else tuple(faults_met_by(plan, driver_faults()))


def lower_phase(
    phase: PhaseKind,
    frame: Frame,
    model: ir.Model,
    settings: Settings,
    table: WeightTable,
    programs: Programs,
    align: int,
    tables: RecordTables | None = None,
) -> Phase:
    """One phase of a graph: its steps, and its scratch in an arena of its own."""
    box = {symbol.name: (symbol.min, symbol.max) for symbol in frame.symbols} | dict(phase.bounds)
    builder = PhaseBuilder(
        name=phase.name,
        settings=settings,
        weights=table,
        programs=programs,
        buffers=frame.buffers,
        joining=JOINING,
        at=phase.fixed,
        box=box,
        locations=dict(frame.inputs),
        results=frame.results,
        tabled={} if tables is None else tables.by_node(),
    )
    lower_nodes(model.graph, builder)
    phase.end(builder)
    scratch, steps = compact(builder)
    made = Phase(phase.name, phase.graph, phase.bounds, phase.recordable, scratch, steps)
    return place_phase(made, box, align)
