"""Each pair of past input and present output becomes one state of fixed capacity, written in place.

`present = Concat(past, new)` becomes `state_out.X = pocket.KvWrite(state.X, new, past)`: a pure
function, so that ONNX Runtime still runs the graph; only the plan gives state and state_out one
buffer. A layer that sees a window of w tokens gets a ring of w + chunk slots. (Transformer-Lite,
section 3.4: KV as sub-tensors, no copies.)
"""

from functools import partial

import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, attentions, counters
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import DOMAIN, attribute, needed, producer
from onnx_passes.ir.rules import Miss, Outcome, attempt


def kv_in_place(model: ir.Model) -> Outcome:
    """Turn the caches of layers into states; a layer's two count as one rewrite."""
    pairs = set(roles_of(model).cache)
    return attempt(
        (node, partial(_make_states, model, node, f"layers.{layer}", pairs))
        for layer, node in enumerate(attentions(model))
    )


def _make_states(model: ir.Model, node: ir.Node, name: str, pairs: set[tuple[str, str]]) -> bool:
    joins = [_extension(value, pairs) for value in node.inputs[1:3]]  # both, or neither
    if joins[0] is joins[1]:
        raise Miss("its keys and values are one cache")
    for join, letter in zip(joins, "kv", strict=True):
        _make_state(model, join, f"{name}.{letter}")
    return True


def _extension(value: ir.Value | None, pairs: set[tuple[str, str]]) -> ir.Node:
    """The Concat of a past and its new tokens that attention alone reads."""
    join = producer(value, "Concat")
    if join is None or len(join.inputs) != 2:
        raise Miss("its keys or values do not extend a cache")
    past, present = needed(join, 0), join.outputs[0]
    at_tokens = attribute(join, "axis") in (-2, 2)
    if (past.name, present.name) not in pairs or past.shape is None or not at_tokens:
        raise Miss("its keys or values do not extend a cache along the tokens")
    if len(past.uses()) != 1:
        raise Miss(f"{past.name} is read elsewhere too")
    if any(use.node.op_type != "Attention" for use in present.uses()):
        raise Miss(f"{present.name} is read by other nodes than attention")
    return join


def _make_state(model: ir.Model, join: ir.Node, name: str) -> None:
    past, new = needed(join, 0), needed(join, 1)
    assert past.shape is not None
    dims = [*past.shape[:2], _capacity(model, join.outputs[0]), past.shape[3]]
    state = ir.Value(name=f"state.{name}", shape=ir.Shape(dims), type=past.type)
    model.graph.inputs[model.graph.inputs.index(past)] = state
    b = Builder(join)
    by_token = b.op("Transpose", new, perm=SWAP_HEADS_TOKENS)
    written = b.op("KvWrite", state, by_token, counters(model)[0], domain=DOMAIN)
    written.type, written.shape = state.type, state.shape
    replace(join, written)
    written.name = f"state_out.{name}"


def _capacity(model: ir.Model, present: ir.Value) -> int:
    """Slots for the context, or for the widest window of the layers that read the cache."""
    facts = Facts.of(model)
    window = max(attribute(use.node, "window") for use in present.uses())
    return int(min(facts.context, window + facts.chunk))
