"""Each pair of past input and present output becomes one state of fixed capacity, written in place.

`present = Concat(past, new)` becomes `state_out.X = pocket.KvWrite(state.X, new, past)`: a pure
function, so that ONNX Runtime still runs the graph; only the plan gives state and state_out one
buffer. `pocket.Attention` reads the state, all other nodes `pocket.KvRead` of it. A layer that sees
a window of w tokens gets a ring of w + chunk slots, if attention alone reads it. A cache of fixed
size, which new tokens are scattered into, is a state of this size, all of which its readers see.
Whatever the order of dimensions in the exporter's cache, a state is [batch, kv_head, slot, width].
(Transformer-Lite, section 3.4: KV as sub-tensors, no copies.)
"""

from functools import partial

import onnx_ir as ir

from onnx_passes.analysis.scattered import check_scattered
from onnx_passes.analysis.uses import SCATTERED, Cache, caches, source_of
from onnx_passes.ir.dims import Dim
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, counters
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import DOMAIN, attribute, is_op, needed
from onnx_passes.ir.rules import Miss, Outcome, attempt
from onnx_passes.ir.states import STATE, STATE_OUT

Use = tuple[ir.Node, int]  # a node, and which of its inputs it is
_SLOTS = 2  # axis of a state


def kv_in_place(model: ir.Model) -> Outcome:
    """Turn caches into states."""
    place = {node: i for i, node in enumerate(model.graph)}
    found = sorted(caches(model.graph), key=lambda cache: place[cache.node])
    per_layer = 1 if len(found) % 2 else 2
    sites: list[tuple[Cache, str]] = []
    for first in range(0, len(found), per_layer):
        layer = sorted(found[first : first + per_layer], key=partial(_place_in_layer, model))
        names = (f"layers.{first // per_layer}.{letter}" for letter in "kv")
        sites += zip(layer, names, strict=False)
    return attempt((c.node, partial(_make_state, model, c, name)) for c, name in sites)


def _place_in_layer(model: ir.Model, cache: Cache) -> tuple[int, int]:
    """Keys before values: by what attention reads as such, else by the order of the inputs."""
    read_as = (index for node, index in cache.node.outputs[0].uses() if _is_attention(node))
    inputs = [value.name for value in model.graph.inputs]
    return min(read_as, default=1), inputs.index(cache.past)


def _make_state(model: ir.Model, cache: Cache, name: str) -> bool:
    if is_op(cache.node, *SCATTERED):
        return _scatter_to_state(model, cache, name)
    join, present, graph = cache.node, cache.node.outputs[0], model.graph
    past, dims = _extended(cache)
    axes = _axes_of_state(join)
    dims = [dims[axis] for axis in axes]
    attending, others = _readers(present, axes)
    dims[_SLOTS] = _capacity(model, [] if others else [node for node, _ in attending])
    b = Builder(join)
    by_token = _transposed(b, needed(join, 1), [axes[i] for i in SWAP_HEADS_TOKENS])
    written = _write(model, b, cache, past, dims, by_token, name)
    for node, index in attending:
        node.replace_input_with(index, written)
    if present.uses():
        read = b.op("KvRead", written, by_token, counters(model)[0], domain=DOMAIN)
        replace(join, _transposed(b, read, [axes.index(i) for i in range(len(axes))]))
    else:
        graph.remove(join, safe=True)
    written.name = STATE_OUT + name
    return True


def _scatter_to_state(model: ir.Model, cache: Cache, name: str) -> bool:
    """The same of a cache of fixed size: it is read as a whole."""
    node, b = cache.node, Builder(cache.node)
    past, order = source_of(cache)
    axis, dims = order.index(cache.axis), [*(node.outputs[0].shape or ())]
    dims[axis] = check_scattered(model, node, axis)
    axes = [0, 1, 2, 3]
    axes.insert(_SLOTS, axes.pop(axis))
    sizes = [-1 if i == axis else int(str(d)) for i, d in enumerate(dims)]
    new = b.op("Reshape", needed(node, 2), b.target(*sizes))
    by_token = _transposed(b, new, [axes[i] for i in SWAP_HEADS_TOKENS])
    written = _write(model, b, cache, past, [dims[i] for i in axes], by_token, name)
    replace(node, _transposed(b, written, [axes.index(i) for i in range(4)]))
    written.name = STATE_OUT + name
    return True


def _write(
    model: ir.Model,
    b: Builder,
    cache: Cache,
    past: ir.Value,
    dims: list[Dim],
    by_token: ir.Value,
    name: str,
) -> ir.Value:
    """A state in place of the cache, with new tokens [B,S,G,K] written to it."""
    graph = model.graph
    state = ir.Value(name=STATE + name, shape=ir.Shape(dims), type=past.type)
    graph.inputs[graph.inputs.index(past)] = state
    written = b.op("KvWrite", state, by_token, counters(model)[0], domain=DOMAIN)
    written.type, written.shape = state.type, state.shape
    graph.outputs[[value.name for value in graph.outputs].index(cache.present)] = written
    return written


def _extended(cache: Cache) -> tuple[ir.Value, list[Dim]]:
    """The past input that a Concat extends, and its dimensions in the order of the Concat's."""
    if not is_op(cache.node, "Concat") or len(cache.node.inputs) != 2:
        raise Miss(f"{cache.past} is extended by something else than a Concat with new tokens")
    value, order = source_of(cache)
    dims = [value.shape[axis] for axis in order] if value.shape and len(value.shape) == 4 else []
    if not dims or dims[attribute(cache.node, "axis")] != "past":
        raise Miss(f"{cache.past} is not extended along the tokens")
    return value, dims


def _axes_of_state(join: ir.Node) -> list[int]:
    """The axes of a Concat in the order of a state's: batch, heads, tokens, width."""
    axes = [0, 1, 2, 3]
    axes.insert(_SLOTS, axes.pop(attribute(join, "axis")))
    return axes


def _readers(present: ir.Value, axes: list[int]) -> tuple[list[Use], bool]:
    """Where attention reads the cache in a state's layout; whether anything else reads it."""
    attending, others = list[Use](), False
    for node, index in present.uses():
        uses: list[Use] = [(node, index)]
        if is_op(node, "Transpose") and attribute(node, "perm") == axes:
            uses = [*node.outputs[0].uses()]
        found = [use for use in uses if _is_attention(use[0])]
        attending += found
        others = others or not (len(found) == len(uses) or _is_for_output_alone(node))
    return attending, others


def _is_attention(node: ir.Node) -> bool:
    return (node.domain, node.op_type) == (DOMAIN, "Attention")


def _is_for_output_alone(node: ir.Node) -> bool:
    """What an exporter does to the cache for the output, which the state stands in for."""
    output = node.outputs[0]
    return is_op(node, "Transpose") and output.is_graph_output() and not output.uses()


def _transposed(b: Builder, value: ir.Value, perm: list[int]) -> ir.Value:
    return value if perm == sorted(perm) else b.op("Transpose", value, perm=perm)


def _capacity(model: ir.Model, attentions: list[ir.Node]) -> int:
    """Slots for the context, or for the widest window of the layers, if these alone read them."""
    facts = Facts.of(model)
    windows = (attribute(node, "window") + facts.chunk for node in attentions)
    return int(min(facts.context, max(windows, default=facts.context)))
