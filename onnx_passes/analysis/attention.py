"""Finds what an attention computes, however an exporter spells it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import onnx_ir as ir

from onnx_passes.ir.graph import (
    attribute,
    check_attributes,
    dim,
    is_constant,
    is_op,
    needed,
    operand,
    opset,
    producer,
    rank,
    scalar,
    through,
)
from onnx_passes.ir.rules import Miss

# Of ONNX's Attention: what is read, or has no meaning here; and at which values the rest has none.
# A window counts from the first token of the block where the op doesn't hold the cache itself.
ATTRIBUTES = (
    *("scale", "is_causal", "q_num_heads", "kv_num_heads", "softmax_precision"),
    "qk_matmul_output_mode",
)
DEFAULTS = {"softcap": 0.0, "left_window_size": -1, "right_window_size": -1}


class Core(NamedTuple):
    """q [B,H,S,K], k and v [B,G,T,K], the factor of the scores, the mask, the node that ends it."""

    q: ir.Value
    k: ir.Value
    v: ir.Value
    scale: float
    mask: ir.Value | None
    last: ir.Node


def from_softmax(node: ir.Node) -> Core:
    """An attention around its Softmax."""
    if attribute(node, "axis", -1 if opset(node) >= 13 else 1) not in (-1, 3):
        raise Miss("the softmax is not over the keys")
    last = _weighted_sum(node.outputs[0])
    scores, mask = _split_mask(through(node.inputs[0], "Cast"))
    product, factor = _product(scores)
    if product is None:
        made = producer(unscaled(scores)[0])
        by = f"comes from {made.op_type}" if made else "is an input"
        raise Miss(f"what goes into the softmax is no product of queries and keys: it {by}")
    (q, q_factor), (k, k_factor) = unscaled(product.inputs[0]), unscaled(product.inputs[1])
    swapped = producer(k, "Transpose")
    if swapped is None or attribute(swapped, "perm") != [0, 1, 3, 2]:
        raise Miss("the keys are not transposed by their last two axes")
    keys, values = unexpanded(needed(swapped, 0)), unexpanded(needed(last, 1))
    return Core(q, keys, values, factor * q_factor * k_factor, mask, last)


def _weighted_sum(weights: ir.Value) -> ir.Node:
    """The MatMul with V that the softmax ends in, through casts and the guard against NaN rows."""
    for use in weights.uses():
        node = use.node
        if is_op(node, "MatMul") and use.idx == 0:
            return node
        if is_op(node, "Cast") or (use.idx == 2 and _is_guard(node)):
            return _weighted_sum(node.outputs[0])
    raise Miss("the softmax does not end in a product with values")


def _is_guard(node: ir.Node) -> bool:
    """Where(IsNaN(x), 0, x)."""
    test = producer(node.inputs[0], "IsNaN") if is_op(node, "Where") else None
    return test is not None and test.inputs[0] is node.inputs[2] and scalar(node.inputs[1]) == 0


def _split_mask(value: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
    """(scores, mask) of Add(scores, mask) or Where(mask, scores, large negative)."""
    node = producer(value, "Add", "Where")
    if node is None:
        return value, None
    if node.op_type == "Where":
        closed = scalar(node.inputs[2])
        if closed is None or closed > -1e4:
            raise Miss("the scores are replaced by something else than a large negative number")
        return node.inputs[1], node.inputs[0]
    for scores, mask in (node.inputs, node.inputs[::-1]):
        if _product(scores)[0] is not None:
            return scores, mask
    raise Miss("neither operand of the sum is a product of queries and keys")


def _product(value: ir.Value | None) -> tuple[ir.Node | None, float]:
    """The MatMul below multiplications and divisions by constants, and their factor."""
    source, factor = unscaled(value)
    return producer(source, "MatMul"), factor


def unscaled(value: ir.Value | None) -> tuple[ir.Value, float]:
    """Look through multiplications and divisions by constants."""
    factor = 1.0
    while (node := producer(value, "Mul", "Div", "Cast")) is not None:
        if node.op_type == "Cast":
            value = node.inputs[0]
            continue
        index = 1 if is_constant(node.inputs[1]) else 0
        number = scalar(node.inputs[index])
        if not number or (node.op_type == "Div" and index == 0):
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
    source = None if split is None else split.inputs[0]
    if copies is None or split is None or source is None or source.shape is None:
        return value
    once, often = [*source.shape[:2], 1, *source.shape[2:]], copies.outputs[0].shape
    if split.outputs[0].shape != once or often is None or often.rank() != 5:
        return value
    same = [*often[:2], 1, *often[3:]] == once and dim(value, 1) == _product_of(often[1:3])
    return source if same else value


def _product_of(dims: Sequence[int | ir.SymbolicDim]) -> int:
    return math.prod(d for d in dims if isinstance(d, int))


def from_op(node: ir.Node) -> Core:
    """ONNX Attention, opset 23 and later, on values of rank 4."""
    q, k, v = (needed(node, i) for i in range(3))
    check_attributes(node, ATTRIBUTES, **DEFAULTS)
    if operand(node, 4) is not None or operand(node, 5) is not None:
        raise Miss("past inputs of the Attention op are not supported")
    if operand(node, 6) is not None or any(output.uses() for output in node.outputs[1:]):
        raise Miss("lengths and further outputs of the Attention op are not supported")
    if attribute(node, "is_causal", 0):
        raise Miss("is_causal is set: with a cache, that is not what the mask says")
    width = dim(q, 3)
    if rank(q) != 4 or width is None:
        raise Miss("q is not [batch, heads, seq, width]")
    scale = attribute(node, "scale", 1 / math.sqrt(width))
    return Core(q, unexpanded(k), unexpanded(v), scale, operand(node, 3), node)
