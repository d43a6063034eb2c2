"""softmax(scale q k^T + mask) v, or an exporter's attention op  ->  pocket.Attention, with the mask as a window.

The exporters' copies of K and V for every query head (Unsqueeze, Expand, Reshape) are taken back (GQA); guards against
rows without any key (IsNaN, Where) go. `pocket.Attention` is token-major in q and y, [batch, kv_head, total, width] in K, V.
"""

import math
from typing import NamedTuple

import onnx_ir as ir

from onnx_passes.fuse_rope import TURN, counters
from onnx_passes.graph import DOMAIN, Builder, Miss, attribute, explain, is_constant, needed, operand, producer, replace
from onnx_passes.graph import scalar, through
from onnx_passes.masks import closed_form
from onnx_passes.roles import roles_of


class Core(NamedTuple):
    """What an attention computes: q [B,H,S,K], k and v [B,G,T,K], the factor of the scores, the mask."""

    q: ir.Value
    k: ir.Value
    v: ir.Value
    scale: float
    mask: ir.Value | None
    causal: bool


def fuse_attention(model: ir.Model) -> int:
    """Replace every spelled-out attention and every ONNX Attention node; return how many."""
    windows: dict[ir.Value, int] = {}
    count = 0
    for node in list(model.graph):
        if node.domain != "" or node.op_type not in ("Softmax", "Attention"):
            continue
        try:
            last, core = _from_softmax(node) if node.op_type == "Softmax" else (node, _from_op(node))
            _replace(model, last, core, _window(model, core, windows))
            count += 1
        except Miss as miss:
            explain(node, miss)
    return count


def _from_softmax(node: ir.Node) -> tuple[ir.Node, Core]:
    if attribute(node, "axis", -1) not in (-1, 3):
        raise Miss("the softmax is not over the keys")
    last = _weighted_sum(node.outputs[0])
    scores, mask = _split_mask(through(node.inputs[0], "Cast"))
    product, factor = _unscaled(scores)
    if product is None or product.op_type != "MatMul":
        raise Miss("what goes into the softmax is not a product of queries and keys")
    (q, q_factor), (k, k_factor) = _unscaled_value(product.inputs[0]), _unscaled_value(product.inputs[1])
    turned = producer(k, "Transpose")
    if turned is None or attribute(turned, "perm") != [0, 1, 3, 2]:
        raise Miss("the keys are not transposed by their last two axes")
    keys, values = unexpanded(needed(turned, 0)), unexpanded(needed(last, 1))
    return last, Core(q, keys, values, factor * q_factor * k_factor, mask, causal=False)


def _weighted_sum(weights: ir.Value) -> ir.Node:
    """The MatMul with V that the softmax ends in, through casts and the guard against NaN rows."""
    for use in weights.uses():
        node = use.node
        if node.op_type == "MatMul" and use.idx == 0:
            return node
        if node.op_type == "Cast" or (node.op_type == "Where" and producer(node.inputs[0], "IsNaN") is not None):
            return _weighted_sum(node.outputs[0])
    raise Miss("the softmax does not end in a product with values")


def _split_mask(value: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
    """(scores, mask) of Add(scores, mask) or Where(mask, scores, large negative)."""
    node = producer(value, "Add", "Where")
    if node is None:
        return value, None
    if node.op_type == "Where":
        if (scalar(node.inputs[2]) or 0) > -1e4:
            raise Miss("the scores are replaced by something else than a large negative number")
        return node.inputs[1], node.inputs[0]
    for scores, mask in (node.inputs, node.inputs[::-1]):
        if _unscaled(scores)[0] is not None:
            return scores, mask
    raise Miss("neither operand of the sum is a product of queries and keys")


def _unscaled(value: ir.Value | None) -> tuple[ir.Node | None, float]:
    source, factor = _unscaled_value(value)
    return producer(source, "MatMul"), factor


def _unscaled_value(value: ir.Value | None) -> tuple[ir.Value, float]:
    """Look through multiplications and divisions by constants."""
    factor = 1.0
    while (node := producer(value, "Mul", "Div", "Cast")) is not None:
        if node.op_type == "Cast":
            value = node.inputs[0]
            continue
        index = 1 if is_constant(node.inputs[1]) else 0
        number = scalar(node.inputs[index])
        if number is None or (node.op_type == "Div" and index == 0):
            break
        factor = factor * number if node.op_type == "Mul" else factor / number
        value = node.inputs[1 - index]
    if value is None:
        raise Miss("an operand is missing")
    return value, factor


def unexpanded(value: ir.Value) -> ir.Value:
    """K or V [B,G,T,K] below the copies that exporters make of it for every query head."""
    join = producer(value, "Reshape")
    copies = None if join is None else producer(join.inputs[0], "Expand", "Tile")
    split = None if copies is None else producer(copies.inputs[0], "Unsqueeze", "Reshape")
    if split is None or split.inputs[0] is None or split.inputs[0].shape is None or copies is None:
        return value
    inserted = None if split.outputs[0].shape is None else split.outputs[0].shape
    if split.inputs[0].shape.rank() != 4 or inserted is None or inserted.rank() != 5 or inserted[2] != 1:
        return value
    return split.inputs[0]


def _from_op(node: ir.Node) -> Core:
    """ONNX Attention, opset 23 and later, on values of rank 4."""
    q, k, v = (needed(node, i) for i in range(3))
    if operand(node, 4) is not None or attribute(node, "softcap", 0.0) or attribute(node, "qk_matmul_output_mode", 0):
        raise Miss("past inputs, soft-capping and score outputs of the Attention op are not supported")
    if q.shape is None or q.shape.rank() != 4 or not isinstance(q.shape[3], int):
        raise Miss("q is not [batch, heads, seq, width]")
    scale = attribute(node, "scale", 0.0) or 1 / math.sqrt(q.shape[3])
    return Core(q, unexpanded(k), unexpanded(v), scale, operand(node, 3), bool(attribute(node, "is_causal", 0)))


def _window(model: ir.Model, core: Core, known: dict[ir.Value, int]) -> int:
    if core.mask is None:
        raise Miss("it has no mask: a decoder's attention is causal")
    if core.causal:
        raise Miss("is_causal is set besides a mask")
    if core.mask not in known:
        context = int(model.metadata_props["pocket.context"])
        known[core.mask] = closed_form(model, core.mask, roles_of(model), context)
    return known[core.mask]


def _replace(model: ir.Model, last: ir.Node, core: Core, window: int) -> None:
    check_heads(core.q, core.k, heads_axis=1)
    b = Builder(last)
    q = b.op("Transpose", core.q, perm=TURN)
    y = attention(model, b, q, core.k, core.v, core.scale, window)
    replace(last, b.op("Transpose", y, perm=TURN))


def attention(
    model: ir.Model, b: Builder, q: ir.Value, k: ir.Value, v: ir.Value, scale: float, window: int
) -> ir.Value:
    """`pocket.Attention` of q [B,S,H,K] over k, v [B,G,T,K]."""
    return b.op("Attention", q, k, v, *counters(model), domain=DOMAIN, scale=float(scale), window=window)


def check_heads(q: ir.Value, k: ir.Value, heads_axis: int) -> None:
    """Query heads must be a multiple of KV heads, both known."""
    heads = None if q.shape is None else q.shape[heads_axis]
    groups = None if k.shape is None else k.shape[1]
    if not isinstance(heads, int) or not isinstance(groups, int) or heads % groups:
        raise Miss(f"{heads} query heads do not share {groups} KV heads evenly")


