"""Caches of a fixed size that TensorScatter writes into  ->  caches that a Concat extends.

So a cache has one spelling, and its size is the compiler's to choose, not the exporter's. One of
merged heads, [batch, slots, kv_heads * width], gets a dimension for them. (ONNX, TensorScatter-24;
who reads the cache counts its tokens in `nonpad_kv_seqlen`, which `attention_caches` looks at.)
"""

import onnx_ir as ir

from onnx_passes.analysis.subgraph import holds_number
from onnx_passes.analysis.uses import WRITTEN
from onnx_passes.ir.dims import Dim
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import attribute, needed, operand, rank
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


def _heads(present: ir.Value) -> int:
    """How many heads those that attend to a cache see in its last dimension."""
    readers = [use.node for use in present.uses()]
    found = {attribute(node, "kv_num_heads", 0) for node in readers}
    if len(found) != 1 or 0 in found:
        raise Miss("its reader does not say how many heads are merged in the cache")
    return int(found.pop())


RULES: Rules = {("", WRITTEN): _grown}
