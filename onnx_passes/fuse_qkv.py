"""q, k and v projections, rotation and the writing of both caches  ->  pocket.RopeKvWrite."""

from functools import partial

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import attentions
from onnx_passes.ir.graph import DOMAIN, dim, is_constant, linear, needed, operand, producer, rank
from onnx_passes.ir.rules import Done, Loss, Miss, Outcome, attempt
from onnx_passes.weights.concat import merged


def fuse_qkv(model: ir.Model) -> Outcome:
    """Fuse what stands before every attention."""
    order = {node: i for i, node in enumerate(model.graph)}
    return attempt(
        (node, partial(_fuse, node, f"layers.{layer}.qkv", order))
        for layer, node in enumerate(attentions(model))
    )


def _fuse(attention: ir.Node, name: str, order: dict[ir.Node, int]) -> Done:
    k_write = _made_by(attention.inputs[1], "KvWrite", "the keys are not written to a state")
    v_write = _made_by(attention.inputs[2], "KvWrite", "the values are not written to a state")
    q_rope = _made_by(attention.inputs[0], "Rope", "the queries are not rotated")
    k_rope = _made_by(k_write.inputs[1], "Rope", "the keys are not rotated")
    if q_rope.inputs[1:] != k_rope.inputs[1:] or q_rope.overload != k_rope.overload:
        raise Miss("queries and keys are rotated by different tables")
    if not all(is_constant(table) for table in q_rope.inputs[1:3]):
        raise Miss("the rotary tables are not constants")
    parts = [_split_heads(x) for x in (q_rope.inputs[0], k_rope.inputs[0], v_write.inputs[1])]
    old = (q_rope, k_write, v_write)
    b = Builder(max(old, key=order.__getitem__))  # all inputs of the others are there by then
    qkv, loss = _packed(b, [part for part, _ in parts], name)
    inputs = (qkv, *q_rope.inputs[1:3], k_write.inputs[0], v_write.inputs[0], *q_rope.inputs[3:])
    counts = {"heads": parts[0][1], "kv_heads": parts[1][1]}
    new = b.ops("RopeKvWrite", 3, *inputs, domain=DOMAIN, overload=q_rope.overload, **counts)
    for node, value in zip(old, new, strict=True):
        replace(node, value)
    return loss or True


def _made_by(value: ir.Value | None, op_type: str, otherwise: str) -> ir.Node:
    node = producer(value, op_type)
    if node is None:
        raise Miss(otherwise)
    return node


def _split_heads(value: ir.Value | None) -> tuple[ir.Value, int]:
    """([B, S, heads * width], heads) of a reshape to [B, S, heads, width]."""
    node, heads, width = producer(value, "Reshape"), dim(value, 2), dim(value, 3)
    source = None if node is None else operand(node, 0)
    if source is None or heads is None or width is None or rank(source) != 3:
        raise Miss("heads are not split from a projection")
    if dim(source, 2) != heads * width:
        raise Miss("heads are split from more than the width of a projection")
    return source, heads


def _packed(b: Builder, parts: list[ir.Value], name: str) -> tuple[ir.Value, Loss | None]:
    """q, k, v side by side: the value they were split from, or one matmul in place of three."""
    split = producer(parts[0], "Split")
    if split is not None and tuple(split.outputs) == tuple(parts):
        return needed(split, 0), None
    projections = [node for part in parts if (node := linear(part)) is not None]
    if len(projections) != len(parts):
        raise Miss("queries, keys or values are not matmuls with constant weights")
    return merged(b, projections, name)
