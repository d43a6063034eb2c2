"""q, k and v projections, rotation and the writing of both caches  ->  one matmul and pocket.RopeKvWrite."""

from collections.abc import Iterator

import onnx_ir as ir

from onnx_passes.fuse_bias import linear
from onnx_passes.graph import DOMAIN, Builder, Miss, explain, needed, producer, replace
from onnx_passes.merge_weights import merged


def fuse_qkv(model: ir.Model) -> int:
    """Fuse what stands before every attention; return how many."""
    count = 0
    for layer, node in enumerate(n for n in list(model.graph) if n.domain == DOMAIN and n.op_type == "Attention"):
        try:
            _fuse(node, f"layers.{layer}.qkv")
            count += 1
        except Miss as miss:
            explain(node, miss)
    return count


def _fuse(attention: ir.Node, name: str) -> None:
    k_write, v_write = (_made_by(attention.inputs[i], "KvWrite", "keys or values are not written to a state") for i in (1, 2))
    q_rope = _made_by(attention.inputs[0], "Rope", "the queries are not rotated")
    k_rope = _made_by(k_write.inputs[1], "Rope", "the keys are not rotated")
    if q_rope.inputs[1:] != k_rope.inputs[1:] or q_rope.overload != k_rope.overload:
        raise Miss("queries and keys are rotated by different tables")
    parts = [_split_heads(x) for x in (q_rope.inputs[0], k_rope.inputs[0], v_write.inputs[1])]
    b = Builder(_latest(q_rope, k_write, v_write))
    qkv = _packed(b, [part for part, _ in parts], name)
    states = k_write.inputs[0], v_write.inputs[0]
    heads, groups = parts[0][1], parts[1][1]
    inputs = (qkv, *q_rope.inputs[1:3], *states, *q_rope.inputs[3:])
    outputs = b.ops(
        "RopeKvWrite", 3, *inputs, domain=DOMAIN, overload=q_rope.overload, heads=heads, kv_heads=groups
    )
    for old, new in zip((q_rope, k_write, v_write), outputs, strict=True):
        new.type, new.shape = old.outputs[0].type, old.outputs[0].shape
        replace(old, new)


def _made_by(value: ir.Value | None, op_type: str, otherwise: str) -> ir.Node:
    node = producer(value, op_type)
    if node is None:
        raise Miss(otherwise)
    return node


def _split_heads(value: ir.Value | None) -> tuple[ir.Value, int]:
    """([B, S, heads * width], heads) of a reshape to [B, S, heads, width]."""
    node = producer(value, "Reshape")
    heads = None if value is None or value.shape is None or value.shape.rank() != 4 else value.shape[2]
    if node is None or not isinstance(heads, int):
        raise Miss("heads are not split from a projection")
    return needed(node, 0), heads


def _packed(b: Builder, parts: list[ir.Value], name: str) -> ir.Value:
    """q, k, v side by side: the value they were split from, or one matmul in place of three."""
    split = producer(parts[0], "Split")
    if split is not None and tuple(split.outputs) == tuple(parts):
        return needed(split, 0)
    projections = [linear(part) for part in parts]
    if any(node is None for node in projections):
        raise Miss("queries, keys or values are not matmuls with constant weights")
    return merged(b, [node for node in projections if node is not None], name)


def _latest(*nodes: ir.Node) -> ir.Node:
    """The node that stands last in the graph: all inputs of the others are there by then."""
    graph = nodes[0].graph
    assert graph is not None
    return max(nodes, key=_positions(graph).__getitem__)


def _positions(graph: ir.Graph | ir.Function) -> dict[ir.Node, int]:
    return {node: i for i, node in enumerate(_nodes(graph))}


def _nodes(graph: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    yield from graph


