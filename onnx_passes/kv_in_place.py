"""Each pair of past input and present output becomes one state of fixed capacity, written in place.

`present = Concat(past, new)` turns into `state_out.X = pocket.KvWrite(state.X, new, past)`: a pure function, so that
ONNX Runtime still runs the graph; only the plan gives state and state_out one buffer. A layer that sees a window of
w tokens gets a ring of w + chunk slots. (Transformer-Lite, section 3.4: KV as sub-tensors, no copies.)
"""

import onnx_ir as ir

from onnx_passes.fuse_rope import TURN, counters
from onnx_passes.graph import DOMAIN, Builder, Miss, attribute, explain, needed, producer, replace
from onnx_passes.roles import Roles, roles_of


def kv_in_place(model: ir.Model) -> int:
    """Turn caches into states, in the order of the layers; return how many."""
    roles = roles_of(model)
    values = {value.name: value for value in (*model.graph.inputs, *model.graph.outputs)}
    layers = [node for node in model.graph if node.domain == DOMAIN and node.op_type == "Attention"]
    count = 0
    for layer, node in enumerate(layers):
        for letter, index in (("k", 1), ("v", 2)):
            try:
                _make_state(model, node, index, f"layers.{layer}.{letter}", roles, values)
                count += 1
            except Miss as miss:
                explain(node, miss)
    return count


def _make_state(
    model: ir.Model, layer: ir.Node, index: int, name: str, roles: Roles, values: dict[str | None, ir.Value]
) -> None:
    join = producer(layer.inputs[index], "Concat")
    if join is None or len(join.inputs) != 2 or join.inputs[0] is None:
        raise Miss("its keys or values do not extend a cache")
    past, new = join.inputs[0], needed(join, 1)
    if (past.name, join.outputs[0].name) not in roles.cache or attribute(join, "axis") not in (-2, 2):
        raise Miss("its keys or values do not extend a cache along the tokens")
    assert past.shape is not None
    state = ir.val(f"state.{name}", dtype=past.dtype, shape=[*past.shape[:2], _capacity(model, layer), past.shape[3]])
    model.graph.inputs[model.graph.inputs.index(past)] = state
    b = Builder(join)
    written = b.op("KvWrite", state, b.op("Transpose", new, perm=TURN), counters(model)[0], domain=DOMAIN)
    written.dtype, written.shape = state.dtype, state.shape
    replace(join, written)
    written.name = f"state_out.{name}"


def _capacity(model: ir.Model, layer: ir.Node) -> int:
    context, chunk = (int(model.metadata_props[f"pocket.{key}"]) for key in ("context", "chunk"))
    return int(min(context, attribute(layer, "window") + chunk))
