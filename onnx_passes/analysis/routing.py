"""Which expert an addend of a sum belongs to, where exporters write all experts one by one.

Either an expert computes all tokens, and its output is weighed by what the tokens that chose it
say:     output * ReduceSum(gates * (indices == e))
or it computes the tokens that chose it, and scatters what it makes into zeros:
         ScatterElements(zeros, tokens, output * gates[tokens, slots]),
         (tokens, slots) = NonZero(OneHot(indices) == e)
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.experts.emit import Choice
from onnx_passes.ir.graph import (
    attribute,
    constant,
    dim,
    integers,
    needed,
    operand,
    other,
    producer,
    rank,
    scalar,
    through,
)


class Part(NamedTuple):
    """One expert's addend."""

    expert: int
    choice: Choice
    output: ir.Value  # before it is weighed
    tokens: ir.Value | None  # int64 [n]: the rows that it computes; None: all


class Found(NamedTuple):
    """A row of NonZero: the tokens that chose an expert, or the places where they name it."""

    expert: int
    indices: ir.Value  # [M, k]
    pairs: ir.Value  # of the NonZero
    are_tokens: bool


def part_of(value: ir.Value) -> Part | None:
    """The expert that makes an addend, or None."""
    scatter = producer(value, "ScatterElements")
    if scatter is not None:
        return _scattered(scatter)
    product = producer(value, "Mul")
    for share in () if product is None else product.inputs:
        found = _share(share)
        if found is not None and product is not None and share is not None:
            return Part(*found, other(product, share), None)
    return None


def is_zero(value: ir.Value | None) -> bool:
    """Whether all elements are zero, as sums begin."""
    return fills_with(value) == 0


def fills_with(value: ir.Value | None) -> float | None:
    """The number that all elements are, or None."""
    spread, sized = producer(value, "Expand"), producer(value, "ConstantOfShape")
    if spread is not None:
        return fills_with(operand(spread, 0))
    filler = None if sized is None else sized.attributes.get("value")
    array = constant(value) if sized is None else np.zeros(1)
    array = array if filler is None else filler.as_tensor().numpy()
    if array is None or not array.size or (array != array.flat[0]).any():
        return None
    return float(array.flat[0])


def _share(value: ir.Value | None) -> tuple[int, Choice] | None:
    """ReduceSum(gates * Cast(indices == e), last axis, keepdims)."""
    total = producer(value, "ReduceSum")
    if total is None or not attribute(total, "keepdims", 1) or not _is_last(total):
        return None
    product = producer(total.inputs[0], "Mul")
    for factor in () if product is None else product.inputs:
        equal = producer(through(factor, "Cast"), "Equal")
        expert = None if equal is None else scalar(operand(equal, 1))
        if equal is not None and expert is not None and product is not None and factor is not None:
            return int(expert), Choice(needed(equal, 0), other(product, factor))
    return None


def _is_last(node: ir.Node) -> bool:
    size = rank(node.inputs[0])
    axes = integers(operand(node, 1))
    return axes is not None and size is not None and axes in ([-1], [size - 1])


def _scattered(node: ir.Node) -> Part | None:
    if attribute(node, "axis", 0) != 0 or not is_zero(node.inputs[0]):
        return None
    tokens = through(node.inputs[1], "Expand", "Unsqueeze")
    weighed = producer(through(operand(node, 2), "Expand"), "Mul")
    found = _found(tokens)
    if weighed is None or found is None or not found.are_tokens or tokens is None:
        return None
    for factor in weighed.inputs:
        gates = _gates(factor, found, tokens)
        if gates is not None and factor is not None:
            choice = Choice(found.indices, gates)
            return Part(found.expert, choice, other(weighed, factor), tokens)
    return None


def _gates(value: ir.Value | None, found: Found, tokens: ir.Value) -> ir.Value | None:
    """The gates [M, k] that `value` are, of (tokens, slots): flat, at tokens * k + slots."""
    rows = producer(through(value, "Unsqueeze", "Reshape"), "Gather")
    place = None if rows is None else producer(rows.inputs[1], "Add")
    if rows is None or place is None or attribute(rows, "axis", 0) != 0:
        return None
    gates = through(rows.inputs[0], "Flatten", "Reshape", "Unsqueeze")
    k = dim(found.indices, -1)
    for start in place.inputs:
        scaled = producer(start, "Mul")
        if scaled is None or start is None or tokens not in scaled.inputs:
            continue
        slots = _found(other(place, start))
        if slots is None or slots.are_tokens or slots.pairs is not found.pairs:
            continue
        if k is not None and scalar(other(scaled, tokens)) == k == dim(gates, -1):
            return gates
    return None


def _found(value: ir.Value | None) -> Found | None:
    """A row of NonZero(one expert of OneHot(indices)), [M, k] or [k, M]."""
    column = through(value, "Squeeze", "Reshape")
    split = producer(column, "Split")
    turned = None if split is None else producer(split.inputs[0], "Transpose")
    pairs = None if turned is None else producer(turned.inputs[0], "NonZero")
    if split is None or pairs is None or column is None or attribute(split, "axis", 0) != 1:
        return None
    expert = producer(through(pairs.inputs[0], "Cast", "Squeeze"), "Gather")
    hot = None if expert is None else producer(expert.inputs[0], "Transpose")
    one_hot = None if hot is None else producer(hot.inputs[0], "OneHot")
    number = None if expert is None else scalar(expert.inputs[1])
    if one_hot is None or hot is None or number is None or attribute(one_hot, "axis", -1) != -1:
        return None
    perm = attribute(hot, "perm")
    if integers(operand(one_hot, 2)) != [0, 1] or perm not in ([2, 0, 1], [2, 1, 0]):
        return None
    token_row = perm[1:].index(0)
    row = split.outputs.index(column)
    return Found(int(number), needed(one_hot, 0), pairs.outputs[0], row == token_row)
