"""RMSNorm as exporters spell it: gamma * (x * (1 / sqrt(mean(x^2) + eps))).

Factors stand in any order; 1 / sqrt is a Reciprocal or a Div. (Zhang & Sennrich 2019, eq. 4)
"""

from typing import NamedTuple

import onnx_ir as ir

from onnx_passes.ir.graph import (
    attribute,
    integers,
    is_constant,
    needed,
    operand,
    producer,
    rank,
    scalar,
    through,
)
from onnx_passes.ir.rules import Miss


class Norm(NamedTuple):
    """What an RMSNorm is computed from."""

    x: ir.Value | None
    gamma: ir.Value
    eps: float


def spelled_norm(node: ir.Node) -> Norm | None:
    """The norm that the Mul `node` ends: gamma times the normalised x; None if it is no such end.

    A Miss says what of a norm is not as expected.
    """
    scaled = _constant_first(node)
    found = None if scaled is None else _normalised(through(scaled[1], "Cast"))
    if scaled is None or found is None:
        return None
    x, root = found
    # below the root: the mean of squares, plus epsilon
    shifted = producer(root.inputs[0], "Add")
    inside = None if shifted is None else _constant_first(shifted)
    if inside is None:
        raise Miss("no epsilon is added below the square root")
    eps, reduce = scalar(inside[0]), producer(inside[1], "ReduceMean")
    if reduce is None or eps is None:
        raise Miss("below the root is not a mean plus one constant")
    _check_mean(reduce, x)
    # computed in float32, between casts: the norm is of what was cast
    narrow = x.dtype != node.outputs[0].dtype
    return Norm(through(x, "Cast") if narrow else x, scaled[0], eps)


def _normalised(value: ir.Value | None) -> tuple[ir.Value, ir.Node] | None:
    """(x, the Sqrt node) of x * (1 / sqrt(.)) or x / sqrt(.)."""
    node = producer(value, "Mul", "Div")
    if node is None or None in node.inputs:
        return None
    if node.op_type == "Div":
        root = producer(node.inputs[1], "Sqrt")
        return None if root is None else (needed(node, 0), root)
    for x, unit in (node.inputs, node.inputs[::-1]):
        inverse = producer(unit, "Reciprocal", "Div")
        root = None if inverse is None else producer(inverse.inputs[-1], "Sqrt")
        if inverse is None or root is None or x is None:
            continue
        if inverse.op_type == "Div" and scalar(inverse.inputs[0]) != 1:
            raise Miss("the numerator over the root is not the constant 1")
        return x, root
    return None


def _check_mean(reduce: ir.Node, x: ir.Value) -> None:
    square = producer(reduce.inputs[0], "Pow", "Mul")
    if square is None or square.inputs[0] is not x:
        raise Miss("the mean is not of the square of the value that is scaled")
    if square.op_type == "Pow" and scalar(square.inputs[1]) != 2:
        raise Miss(f"the exponent is {scalar(square.inputs[1])}, not the constant 2")
    if square.op_type == "Mul" and square.inputs[1] is not x:
        raise Miss("the mean is of a product, not of a square")
    check_along_rows(reduce)


def check_along_rows(reduce: ir.Node) -> None:
    """Raise a Miss unless a mean is over the last axis, which stays."""
    axes = attribute(reduce, "axes") or integers(operand(reduce, 1))
    if axes not in ([-1], [(rank(reduce.inputs[0]) or 0) - 1]):
        raise Miss(f"the mean is over the axes {axes}, not over the last one")
    if not attribute(reduce, "keepdims", 1):
        raise Miss("the mean drops its axis")


def _constant_first(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The operands of a binary node of which one is constant: that one first."""
    a, b = needed(node, 0), needed(node, 1)
    if is_constant(a) == is_constant(b):
        return None
    return (a, b) if is_constant(a) else (b, a)
