"""From the rewritten graph of a language model to its plan: symbols, buffers, phases."""

from collections.abc import Iterator, Mapping
from typing import Any

import onnx_ir as ir
import sympy

from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.dims import as_expr
from opencl_kernels.device_class import CLASSES
from opencl_kernels.formats import dtype_bytes
from opencl_kernels.sampling.sample import PARAMETERS, Choice
from opencl_kernels.tuned import Table
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, compact
from toolkit.compiler.lowering.table import lower_nodes
from toolkit.compiler.lowering.variants import Programs, Settings
from toolkit.compiler.memory.phases import place_phase
from toolkit.compiler.options import Options
from toolkit.compiler.source import Source
from toolkit.compiler.weights.table import WeightTable
from toolkit.devices.match import Profile
from toolkit.errors import PocketError
from toolkit.plan.expr import symbol
from toolkit.plan.schema import Buffer, HostStep, Phase, Plan, Scratch, SymbolDecl
from toolkit.version import __version__

STATE = "state."  # prefix of the inputs that `kv_in_place` makes for states
SCORE_BYTES = 16 * 2**20  # of logits that the score phase holds at a time
SCORE_ROWS = 8  # it holds at least this many rows

# Symbols that are fixed in a phase: prefill computes the last row, decode one token, score every
# row.
FIXED = {
    "prefill": {symbol("rows"): sympy.Integer(1)},
    "decode": {symbol("seq"): sympy.Integer(1), symbol("rows"): sympy.Integer(1)},
    "score": {symbol("rows"): symbol("seq")},
}


def assemble(
    model: ir.Model,
    source: Source,
    profile: Profile,
    options: Options,
    table: WeightTable,
    tuned: Table,
) -> Plan:
    """Lower every phase; weights and files are filled in when the plan is written."""
    # sizes, buffers and settings, which all phases share
    vocab = _vocabulary(model)
    score = min(options.chunk, max(SCORE_ROWS, SCORE_BYTES // (4 * vocab)))
    buffers = tuple(_buffers(model, options, vocab, score))
    index = {buffer.name: i for i, buffer in enumerate(buffers)}
    programs = Programs()
    settings = Settings(
        device_class=CLASSES[profile["class"]],
        batch=options.batch,
        context=options.context,
        activations=options.activations,
        kv=options.kv,
        compute_units=profile["compute_units"],
        local_memory=profile["local_memory"],
        tuned=tuned,
    )
    symbols = _symbols(options, score)
    box = {s.name: (s.min, s.max) for s in symbols}
    # each phase is the graph with its own bounds
    phases = []
    for name, longest in (("prefill", options.chunk), ("decode", 1), ("score", score)):
        bounds = {"seq": (1, longest), "rows": (1, longest if name == "score" else 1)}
        builder = PhaseBuilder(
            name=name,
            settings=settings,
            weights=table,
            programs=programs,
            buffers=buffers,
            functions=model.functions,
            at=FIXED[name],
            box={**box, **bounds},
        )
        builder.locations |= _locations(model, index, options.kv)
        lower_nodes(model.graph, builder)
        _end(builder, vocab, options)
        scratch, steps = compact(builder)
        phase = Phase(name, bounds, name == "decode", scratch, steps)
        phases.append(place_phase(phase, {**box, **bounds}, profile["align"]))
    facts = _facts(source, options, vocab, sum(b.kind == "state" for b in buffers) // 2)
    generator = f"pocketcl {__version__}"
    return Plan(
        generator, facts, profile, symbols, buffers, (), (), tuple(programs.index), tuple(phases)
    )


def _vocabulary(model: ir.Model) -> int:
    logits = next(v for v in model.graph.outputs if v.name == roles_of(model).logits)
    dims = [] if logits.shape is None else [as_expr(d) for d in logits.shape]
    if len(dims) != 3 or dims[1] != symbol("rows") or not dims[2].is_Integer:
        raise PocketError(
            f"the logits have the shape {logits.shape}",
            "a matmul must compute [batch, sequence, vocabulary] for any number of positions",
            "run pocketcl inspect MODEL --why last_rows",
        )
    return int(dims[2])


def _symbols(options: Options, score: int) -> tuple[SymbolDecl, ...]:
    """The symbols, in the order in which the kernels' `symbol_header` reads them."""
    sizes = [("seq", 1, options.chunk), ("past", 0, options.context), ("rows", 1, score)]
    starts = [(f"start.{b}", 0, options.context) for b in range(options.batch)]
    return tuple(SymbolDecl(name, "input", low, high) for name, low, high in sizes + starts)


def _buffers(model: ir.Model, options: Options, vocab: int, score: int) -> Iterator[Buffer]:
    batch, seq, rows = options.batch, symbol("seq"), symbol("rows")
    positions = options.context + 1
    yield Buffer("tokens", "input", "i32", (batch, seq), 4 * batch * options.chunk)
    yield Buffer("ids", "output", "i32", (batch, positions), 4 * batch * positions)
    yield Buffer("logits", "output", "f32", (batch, rows, vocab), 4 * batch * score * vocab)
    yield Buffer("sampling", "input", "i32", (PARAMETERS,), 4 * PARAMETERS)
    yield Buffer("logprobs", "output", "f32", (batch, positions), 4 * batch * positions)
    for value in model.graph.inputs:
        if (value.name or "").startswith(STATE):
            shape = tuple(as_expr(d) for d in value.shape or ())
            size = int(sympy.prod(shape)) * dtype_bytes(options.kv)
            yield Buffer(
                (value.name or "").removeprefix(STATE),
                "state",
                options.kv,
                shape,
                size,
                "append",
            )


def _locations(model: ir.Model, index: Mapping[str, int], kv: str) -> dict[ir.Value, Location]:
    """Locations of the graph's inputs: tokens and states are buffers of the plan."""
    tokens = roles_of(model).tokens
    locations = {}
    for value in model.graph.inputs:
        name = value.name or ""
        if name == tokens:
            locations[value] = Location(("buffer", index["tokens"]), "i32")
        elif name.startswith(STATE):
            locations[value] = Location(("buffer", index[name.removeprefix(STATE)]), kv)
    return locations


def _end(builder: PhaseBuilder, vocab: int, options: Options) -> None:
    """Prefill and decode choose the next id on the device; score outputs its logits."""
    fetched = "logits" if builder.name == "score" else "ids"
    if fetched == "ids":
        batch = options.batch
        case = Choice(M=sympy.Integer(batch), B=batch, V=vocab, C=options.context)
        names = ("logits", "sampling", "tokens", "ids", "logprobs")
        refs = {name: builder.buffer(name) for name in names}
        refs["counts"] = ("scratch", len(builder.scratch))
        builder.scratch.append(Scratch("counts", "i32", (vocab,), 4 * vocab))
        builder.emit("next id", "sample", case, refs)
    builder.steps.append(HostStep("fetch", int(builder.buffer(fetched)[-1])))


def _facts(source: Source, options: Options, vocab: int, layers: int) -> dict[str, Any]:
    """The plan's `model` entry."""
    return {
        "kind": "language-model",
        "batch": options.batch,
        "vocab_size": vocab,
        "max_context": options.context,
        "prefill_chunk": options.chunk,
        "layers": layers,
        "eos": list(source.generation["eos"]),
        "bos": source.generation.get("bos"),
        "source": {"path": str(source.onnx_path), "sha256": source.sha256},
        "options": vars(options),
    }
