"""Caches of a fixed size that TensorScatter writes into  ->  caches that a Concat extends.

So a cache has one spelling, and its size is the compiler's to choose, not the exporter's. One of
merged heads, [batch, slots, kv_heads * width], gets a dimension for them. (ONNX, TensorScatter-24;
who reads the cache counts its tokens in `nonpad_kv_seqlen`, which `attention_caches` looks at.)
Where all slots are read, as in transformers' static caches, the exporter's size stays: however new
tokens are scattered, they become rows of a ScatterND, slots first.
"""

import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.analysis.scattered import check_scattered
from onnx_passes.analysis.subgraph import holds_number
from onnx_passes.analysis.uses import SCATTERED, WRITTEN, caches, source_of
from onnx_passes.ir.dims import Dim
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import places
from onnx_passes.ir.graph import DOMAIN, attribute, needed, operand, rank
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply


def grow_caches(model: ir.Model) -> Outcome:
    """Turn every such cache into one that grows."""
    return apply(model, RULES)


def _grown(model: ir.Model, node: ir.Node) -> bool:
    cache, new, place = needed(node, 0), needed(node, 1), operand(node, 2)
    if not cache.is_graph_input() or len(cache.uses()) != 1 or cache.shape is None:
        raise Miss("what it writes into is no input of the model, or is read elsewhere too")
    if attribute(node, "mode", "linear") != "linear":
        raise Miss("it writes in a circle")
    if place is None or not holds_number(model, place, lambda seq, past: past):
        raise Miss("it writes elsewhere than behind what is cached")
    b, present, axis = Builder(node), node.outputs[0], attribute(node, "axis", -2) % rank(cache)
    dims: list[Dim] = [*cache.shape]
    dims[axis] = ir.SymbolicDim("past")
    if len(dims) == 4:
        cache.shape = ir.Shape(dims)
        replace(node, b.op("Concat", cache, new, axis=axis))
        return True
    heads = _heads(present)
    if axis != 1 or not isinstance(dims[2], int) or dims[2] % heads:
        raise Miss(f"its cache {cache.shape} is not [batch, slots, {heads} heads]")
    cache.shape = ir.Shape([*dims[:2], heads, dims[2] // heads])
    by_head = b.op("Reshape", new, b.target(0, 0, heads, -1))
    joined = b.op("Concat", cache, by_head, axis=axis)
    merged = b.op("Reshape", joined, b.target(0, 0, -1))
    for use in present.uses():
        use.node.replace_input_with(use.idx, merged)
    replace(node, joined)
    return True


def _scattered(model: ir.Model, node: ir.Node) -> bool:
    cache = next((cache for cache in caches(model.graph) if cache.node is node), None)
    if cache is None:
        return False
    axis = source_of(cache)[1].index(cache.axis)
    check_scattered(model, node, axis)
    if axis == 0 and node.op_type == "ScatterND":
        return False
    b, data = Builder(node), needed(node, 0)
    order = [axis, *(i for i in range(4) if i != axis)]
    dims = [-1 if i == axis else int(str(d)) for i, d in enumerate(data.shape or ())]
    new = b.op("Reshape", needed(node, 2), b.target(*dims))
    counts = places(model, b, roles_of(model).tokens, False)
    rows = b.op("Reshape", b.op("Positions", *counts, domain=DOMAIN), b.target(-1, 1))
    by_slot, new_by_slot = (b.op("Transpose", each, perm=order) for each in (data, new))
    written = b.op("ScatterND", by_slot, rows, new_by_slot)
    replace(node, b.op("Transpose", written, perm=[order.index(i) for i in range(4)]))
    return True


def _heads(present: ir.Value) -> int:
    """How many heads those that attend to a cache see in its last dimension."""
    readers = [use.node for use in present.uses()]
    found = {attribute(node, "kv_num_heads", 0) for node in readers}
    if len(found) != 1 or 0 in found:
        raise Miss("its reader does not say how many heads are merged in the cache")
    return int(found.pop())


RULES: Rules = {("", WRITTEN): _grown, **{("", name): _scattered for name in SCATTERED}}
