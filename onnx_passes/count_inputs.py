"""Positions and masks are functions of the counters, not inputs that somebody fills in.

A position is `pocket.Positions`, the place of a token after the padding on the left. A mask of
rank 2 is `pocket.PaddingMask`: 1 where a token is none. One of rank 4 is `pocket.CausalMask`: 1
where a key is seen or, of floats, what is added to the scores: 0 where it is seen. Where a cache
has a fixed size, new tokens are written at `past`, and then there are `past + seq`; places in the
cache are counted from its beginning, padding included. So learned
positions, offsets, and what is counted in a mask follow from the graph and can be evaluated.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.edit import Builder
from onnx_passes.ir.emit import counters
from onnx_passes.ir.graph import DOMAIN, dim, rank
from onnx_passes.ir.rules import Outcome

CLOSED = -65504.0  # added to a score that is not seen: finite in half precision, too


def count_inputs(model: ir.Model) -> Outcome:
    """Replace positions, mask, and what counts the tokens of a cache; count the inputs gone."""
    roles, inputs = roles_of(model), {value.name: value for value in model.graph.inputs}
    makers = {
        **{roles.positions: _positions, roles.mask: _mask},
        **{roles.written: _written, roles.lengths: _lengths, roles.places: _places},
    }
    found = [(inputs[name], make) for name, make in makers.items() if name in inputs]
    for value, make in found:
        b = Builder(model.graph[0])
        b.prefix = value.name or ""
        counted = make(b, value, (inputs[roles.tokens], *counters(model)))
        counted.type, counted.shape = value.type, value.shape
        ir.convenience.replace_all_uses_with(value, counted, replace_graph_outputs=True)
        model.graph.inputs.remove(value)
    return Outcome(len(found))


def _positions(b: Builder, value: ir.Value, counts: tuple[ir.Value, ...]) -> ir.Value:
    """The same for time, height and width where a text has all three (Qwen2-VL)."""
    positions = b.op("Positions", *counts, domain=DOMAIN)
    if rank(value) == 3:
        plane = b.op("Unsqueeze", positions, b.constant(np.array([0])))
        positions = b.op("Concat", *[plane] * (dim(value, 0) or 1), axis=0)
    return _cast(b, positions, ir.DataType.INT64, value)


def _mask(b: Builder, value: ir.Value, counts: tuple[ir.Value, ...]) -> ir.Value:
    slots = dim(value, -1)  # columns, where these are the slots of a cache of fixed size
    if rank(value) == 2:
        kept = _taken_slots(b, slots, *counts) if slots else _padding(b, *counts)
        return _cast(b, kept, ir.DataType.BOOL, value)
    seen = _seen_slots(b, slots, *counts) if slots else _causal(b, *counts)
    if value.dtype is None or not value.dtype.is_floating_point():
        return _cast(b, seen, ir.DataType.BOOL, value)
    numbers = (b.constant(np.array(x, value.dtype.numpy())) for x in (0, CLOSED))
    return b.op("Where", seen, *numbers)


def _padding(b: Builder, *counts: ir.Value) -> ir.Value:
    return b.op("PaddingMask", *counts, domain=DOMAIN)


def _causal(b: Builder, *counts: ir.Value) -> ir.Value:
    return b.op("CausalMask", *counts, domain=DOMAIN, window=NO_WINDOW)


def _taken_slots(
    b: Builder, slots: int, tokens: ir.Value, past: ir.Value, start: ir.Value
) -> ir.Value:
    """Which slots of a cache of fixed size hold a token that is no padding [batch, slots]."""
    slot, total = b.constant(np.arange(slots)[None]), _total(b, tokens, past)
    begun = b.op("GreaterOrEqual", slot, b.op("Unsqueeze", start, b.target(1)))
    return b.op("And", begun, b.op("Less", slot, total))


def _seen_slots(
    b: Builder, slots: int, tokens: ir.Value, past: ir.Value, start: ir.Value
) -> ir.Value:
    """Which of them each new token sees [batch, 1, seq, slots]."""
    zero, slot = b.constant(np.zeros(1, np.int64)), b.constant(np.arange(slots))
    own = b.op("Positions", tokens, past, zero, domain=DOMAIN)
    before = b.op("LessOrEqual", slot, b.op("Unsqueeze", own, b.target(1, 3)))
    begins = b.op("Reshape", start, b.target(-1, 1, 1, 1))
    return b.op("And", before, b.op("GreaterOrEqual", slot, begins))


def _total(b: Builder, tokens: ir.Value, past: ir.Value) -> ir.Value:
    """past + seq [1]."""
    return b.op("Extent", tokens, past, domain=DOMAIN, a=1, b=1, c=0)


def _written(b: Builder, value: ir.Value, counts: tuple[ir.Value, ...]) -> ir.Value:
    _, past, _ = counts
    return _cast(b, _for_each_text(b, past, value), ir.DataType.INT64, value)


def _lengths(b: Builder, value: ir.Value, counts: tuple[ir.Value, ...]) -> ir.Value:
    tokens, past, _ = counts
    total = _total(b, tokens, past)
    return _cast(b, _for_each_text(b, total, value), ir.DataType.INT64, value)


def _places(b: Builder, value: ir.Value, counts: tuple[ir.Value, ...]) -> ir.Value:
    tokens, past, _ = counts
    positions = b.op("Positions", tokens, past, b.constant(np.zeros(1, np.int64)), domain=DOMAIN)
    return _cast(b, b.op("Reshape", positions, b.target(-1)), ir.DataType.INT64, value)


def _for_each_text(b: Builder, number: ir.Value, value: ir.Value) -> ir.Value:
    """A number [1] as [batch]: all texts of a batch are equally long, with padding on the left."""
    return b.op("Expand", number, b.constant(np.array([dim(value, 0) or 1])))


def _cast(b: Builder, made: ir.Value, dtype: ir.DataType, like: ir.Value) -> ir.Value:
    wanted = like.dtype or dtype
    return made if wanted == dtype else b.op("Cast", made, to=int(wanted))
