"""Rotation of a head, as exporters spell it: mostly x * cos + rotate_half(x) * sin.

rotate_half(x) = Concat(-x[w/2:], x[:w/2]). (Su et al. 2021, eq. 34)
"""

from typing import NamedTuple

import onnx_ir as ir

from onnx_passes.analysis.heads.rotate_pairs import is_span, rotated_pairs, turned_halves
from onnx_passes.ir.graph import (
    attribute,
    dim,
    integers,
    needed,
    operand,
    other,
    producer,
    rank,
    scalar,
    sole_use,
)
from onnx_passes.ir.rules import Miss


class Rotation(NamedTuple):
    """Of pairs in x by angles whose cos and sin broadcast over heads."""

    x: ir.Value
    cos: ir.Value
    sin: ir.Value
    interleaved: bool = False  # pairs (2j, 2j + 1); else half a head apart


def rotation(node: ir.Node) -> Rotation | None:
    """The rotation that an Add or a Concat ends; None if nothing is rotated.

    Add(Mul(x, cos), Mul(turned, sin)) where `turned` is Concat(-x2, x1), or -x1, x0, -x3, x2, …
    """
    if node.op_type == "Concat":
        halves = turned_halves(node)
        return None if halves is None else Rotation(*halves)
    # the sum and both products have their operands in any order
    for straight, crossed in (node.inputs, node.inputs[::-1]):
        left, right = producer(straight, "Mul"), producer(crossed, "Mul")
        if left is None or right is None:
            continue
        for turned in right.inputs:
            x, interleaved = _rotated(turned, left)
            if x is not None and turned is not None:
                return Rotation(x, other(left, x), other(right, turned), interleaved)
    return None


def _rotated(turned: ir.Value | None, product: ir.Node) -> tuple[ir.Value | None, bool]:
    """The operand x of a product with cos that `turned` is made of; whether its pairs are side by
    side."""
    x = _rotated_half(turned)
    if x is not None and x not in product.inputs:
        raise Miss("the rotated half is not of the value that cos multiplies")
    if x is not None or turned is None:
        return x, False
    sources = [x for x in product.inputs if x is not None and rotated_pairs(turned, x)]
    return (sources[0] if sources else None), True


def partly_rotated(x: ir.Value, node: ir.Node) -> tuple[ir.Value, ir.Node]:
    """What a rotation of x ends in, and of what: (x, node), or heads that turn in part.

    These are Concat(rotation of the first elements of a head, the others).
    """
    join, width = sole_use(node.outputs[0], "Concat"), dim(x, -1)
    if join is None or len(join.inputs) != 2 or width is None:
        return x, node
    first, rest = producer(x), producer(join.inputs[1])
    along = attribute(join, "axis") in (-1, (rank(x) or 0) - 1)
    if first is None or rest is None or first.inputs[0] is not rest.inputs[0] or not along:
        return x, node
    whole = needed(first, 0)
    cut = is_span(whole, x, 0, width) and is_span(whole, needed(join, 1), width, dim(whole, -1))
    return (whole, join) if cut else (x, node)


def _rotated_half(value: ir.Value | None) -> ir.Value | None:
    """x if `value` is Concat(-x[w/2:], x[:w/2]) along the last axis."""
    join = producer(value, "Concat")
    if join is None or len(join.inputs) != 2:
        return None
    negative = producer(join.inputs[0], "Neg")
    upper, lower = negative.inputs[0] if negative else None, join.inputs[1]
    x = _half_of(lower, first=True)
    if x is None or upper is None or _half_of(upper, first=False) is not x:
        return None
    if attribute(join, "axis") not in (-1, 3):
        raise Miss("the halves are not joined along the width of a head")
    return x


def _half_of(value: ir.Value | None, first: bool) -> ir.Value | None:
    """x if `value` is the first or second half of it along its last axis, by Slice or Split."""
    node = producer(value, "Slice", "Split")
    if node is None or value is None:
        return None
    is_half = _is_split_half if node.op_type == "Split" else _is_slice_half
    if not is_half(node, value, first):
        raise Miss("a head is not rotated by halves")
    return needed(node, 0)


def _is_split_half(node: ir.Node, value: ir.Value, first: bool) -> bool:
    x = needed(node, 0)
    at_last = attribute(node, "axis", 0) in (-1, (rank(x) or 0) - 1)
    halves = len(node.outputs) == 2 and dim(value, -1) == (dim(x, -1) or 0) // 2
    return halves and at_last and node.outputs[0 if first else 1] is value


def _is_slice_half(node: ir.Node, value: ir.Value, first: bool) -> bool:
    x = needed(node, 0)
    width = dim(x, -1)
    half = None if width is None else width // 2
    begins = scalar(operand(node, 1)) == (0 if first else half)
    along_last = (integers(operand(node, 3)) or [0])[0] in (-1, (rank(x) or 0) - 1)
    step = scalar(operand(node, 4))
    return begins and along_last and dim(value, -1) == half and step in (None, 1)
