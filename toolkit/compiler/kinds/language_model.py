"""Language models: symbols of a text, token ids and KV states, three phases."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import onnx_ir as ir
import sympy

from onnx_passes.analysis.roles import has_roles, roles_of
from onnx_passes.ir.dims import as_expr
from onnx_passes.ir.graph import TEXT_LENGTH, is_op, producer, scalar
from onnx_passes.ir.states import STATE, STATE_OUT
from opencl_kernels.case import symbols_of_texts
from opencl_kernels.formats import dtype_bytes
from opencl_kernels.sampling import slices
from opencl_kernels.sampling.sample import PARAMETERS, Choice
from toolkit.compiler.kinds.kind import Frame, ModelKind, PhaseKind, Wide
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.options import Options
from toolkit.compiler.source import Source
from toolkit.errors import PocketError
from toolkit.plan.expr import symbol
from toolkit.plan.schema import Buffer, HostStep, Ref, State, SymbolDecl

TOKEN_AXIS = 2  # of these states: [batch, kv_head, capacity, head_dim]
GRAPH = "decoder"
SCORE_BYTES = 16 * 2**20  # of logits that the score phase holds at a time
SCORE_ROWS = 8  # it holds at least this many rows

ONE, SEQ, ROWS = sympy.Integer(1), symbol("seq"), symbol("rows")


def _frame(model: ir.Model, source: Source, options: Options, wide: Wide) -> Frame:
    vocab = _vocabulary(model)
    score = min(options.chunk, max(SCORE_ROWS, SCORE_BYTES // (4 * vocab)))
    buffers = tuple(_buffers(model, options, vocab, score, wide))
    states = tuple(_states(buffers))
    layers = len({state.group for state in states})
    logits = [buffer.name for buffer in buffers].index("logits")
    return Frame(
        symbols=_symbols(model, options, score),
        buffers=buffers,
        states=states,
        inputs=_locations(model, buffers),
        results={_logits(model): Location(("buffer", logits), "f32")},
        phases=_phases(options, vocab, score),
        facts=_facts(source, options, vocab, layers) | _switch(model),
    )


def _phases(options: Options, vocab: int, score: int) -> tuple[PhaseKind, ...]:
    """Prefill computes the last row, decode is one token, score computes every row."""
    last, choose = {"rows": (1, 1)}, partial(_choose_next_id, vocab=vocab, options=options)
    one_token, every_row = {SEQ: ONE, ROWS: ONE}, {"seq": (1, score), "rows": (1, score)}
    prefill = PhaseKind("prefill", GRAPH, {"seq": (1, options.chunk), **last}, {ROWS: ONE}, choose)
    decode = PhaseKind("decode", GRAPH, {"seq": (1, 1), **last}, one_token, choose, recordable=True)
    # of equally narrow phases the first one runs: that which is made for single tokens
    choosing = (prefill, decode) if options.chunk > 1 else (decode, prefill)
    return (*choosing, PhaseKind("score", GRAPH, every_row, {ROWS: SEQ}, _give_logits))


def _logits(model: ir.Model) -> ir.Value:
    return next(v for v in model.graph.outputs if v.name == roles_of(model).logits)


def _vocabulary(model: ir.Model) -> int:
    logits = _logits(model)
    dims = [] if logits.shape is None else [as_expr(d) for d in logits.shape]
    if len(dims) != 3 or dims[1] != symbol("rows") or not dims[2].is_Integer:
        raise PocketError(
            f"the logits have the shape {logits.shape}",
            "a matmul must compute [batch, sequence, vocabulary] for any number of positions",
            "run pocketcl inspect MODEL --why last_rows",
        )
    return int(dims[2])


def _symbols(model: ir.Model, options: Options, score: int) -> tuple[SymbolDecl, ...]:
    """The symbols, in the slots where kernels are tested with them."""
    by_length = any(value.name == TEXT_LENGTH for value in model.graph.inputs)
    bounds = {
        "seq": (1, options.chunk),
        "past": (0, options.context),
        "rows": (1, score),
        **dict.fromkeys(("start", TEXT_LENGTH), (0, options.context)),
    }
    slots = symbols_of_texts(options.batch, by_length)
    return tuple(SymbolDecl(s.name, "input", *bounds[s.name], s.slot, s.length) for s in slots)


def _buffers(
    model: ir.Model, options: Options, vocab: int, score: int, wide: Wide
) -> Iterator[Buffer]:
    batch, seq, rows = options.batch, symbol("seq"), symbol("rows")
    positions = options.context + 1
    yield Buffer("tokens", "input", "i32", (batch, seq), 4 * batch * options.chunk)
    yield Buffer("ids", "output", "i32", (batch, positions), 4 * batch * positions)
    yield Buffer("logits", "output", "f32", (batch, rows, vocab), 4 * batch * score * vocab)
    yield Buffer("sampling", "input", "i32", (PARAMETERS,), 4 * PARAMETERS)
    yield Buffer("logprobs", "output", "f32", (batch, positions), 4 * batch * positions)
    too_large = {name.rpartition(".")[0] for name in _states_of(wide)}  # keys, values: one type
    for value in model.graph.inputs:
        if (value.name or "").startswith(STATE):
            shape = tuple(as_expr(d) for d in value.shape or ())
            name = (value.name or "").removeprefix(STATE)
            dtype = "f32" if name.rpartition(".")[0] in too_large else options.kv
            size = int(sympy.prod(shape)) * dtype_bytes(dtype)
            yield Buffer(name, "state", dtype, shape, size)


def _states_of(wide: Wide) -> Iterator[str]:
    """The states that are too large for halves."""
    return (name.removeprefix(STATE_OUT) for name in wide if name.startswith(STATE_OUT))


def _states(buffers: Sequence[Buffer]) -> Iterator[State]:
    """The states that `kv_in_place` makes, called LAYER.k and LAYER.v."""
    for index, buffer in enumerate(buffers):
        if buffer.kind == "state":
            group, _, part = buffer.name.rpartition(".")
            capacity = int(buffer.shape[TOKEN_AXIS])
            yield State(index, group, part, "append", TOKEN_AXIS, capacity)


def _locations(model: ir.Model, buffers: Sequence[Buffer]) -> dict[ir.Value, Location]:
    """Locations of the graph's inputs: tokens and states are buffers of the plan."""
    tokens, names = roles_of(model).tokens, [buffer.name for buffer in buffers]
    locations = {}
    for value in model.graph.inputs:
        name = value.name or ""
        if name == tokens:
            locations[value] = Location(("buffer", names.index("tokens")), "i32")
        elif name.startswith(STATE):
            index = names.index(name.removeprefix(STATE))
            locations[value] = Location(("buffer", index), buffers[index].dtype)
    return locations


def _choose_next_id(builder: PhaseBuilder, vocab: int, options: Options) -> None:
    """The next id is chosen on the device."""
    batch = options.batch
    case = Choice(M=sympy.Integer(batch), B=batch, V=vocab, C=options.context)
    names = ("logits", "sampling", "tokens", "ids", "logprobs")
    refs = {name: builder.buffer(name) for name in names}
    settings = builder.settings
    sliced = replace(case, GROUPS=slices.groups_of(vocab, settings.compute_units))
    fits = slices.fits(sliced, settings.device_class.name, settings.local_memory)
    if fits and not settings.device_class.is_cpu:
        _choose_by_slices(builder, sliced, refs)
    else:
        refs["counts"] = builder.temporary("counts", "i32", (vocab,))
        builder.emit("next id", "sample", case, refs)
    _fetch(builder, "ids")


def _choose_by_slices(builder: PhaseBuilder, case: Choice, refs: dict[str, Ref]) -> None:
    """In three launches, of which two keep all compute units busy."""
    for family in slices.LAUNCHES:
        for argument in family.arguments(case):
            if argument.name not in refs:
                name = f"next id, {argument.name}"
                refs[argument.name] = builder.temporary(name, argument.dtype, argument.shape)
        builder.emit(f"next id, {family.name}", family.name, case, refs)


def _give_logits(builder: PhaseBuilder) -> None:
    _fetch(builder, "logits")


def _fetch(builder: PhaseBuilder, name: str) -> None:
    builder.steps.append(HostStep("fetch", (builder.buffer(name),)))


def _facts(source: Source, options: Options, vocab: int, layers: int) -> dict[str, Any]:
    """The plan's `model` entry."""
    return {
        "batch": options.batch,
        "vocab_size": vocab,
        "max_context": options.context,
        "prefill_chunk": options.chunk,
        "layers": layers,
        "eos": list(source.generation["eos"]),
        "bos": source.generation.get("bos"),
        "source": {"path": str(source.onnx_path), "sha256": source.sha256, **_lora(source)},
        "options": options.told,
    }


def _lora(source: Source) -> dict[str, str]:
    return {} if source.lora is None else {"lora": str(source.lora)}


def _switch(model: ir.Model) -> dict[str, int]:
    """The longest text with the first tables, where a model has others for longer ones."""
    found = [
        scalar(node.inputs[1])
        for node in model.graph
        if is_op(node, "Greater") and producer(node.inputs[0], "TextLength") is not None
    ]
    lengths = [int(length) for length in found if length is not None]
    return {"short_text": min(lengths)} if lengths else {}


LANGUAGE_MODEL = ModelKind("language-model", has_roles, _frame)
