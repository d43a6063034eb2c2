"""Rotations of pairs that are not spelled as x * cos + rotate_half(x) * sin."""

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.heads.moves import followed, moved, moves
from onnx_passes.ir.graph import attribute, dim, is_op, needed, producer, rank
from onnx_passes.ir.rules import Miss


def rotated_pairs(value: ir.Value, x: ir.Value) -> bool:
    """Whether a value is -x1, x0, -x3, x2, … of every row x0, x1, x2, x3, …, however spelled."""
    signed = _signed(value, x)
    width = dim(x, -1)
    if signed is None or width is None or width % 2 or signed.size != followed([x]).size:
        return False
    even, odd = (followed([x])[..., first::2] + 1 for first in (0, 1))
    expected = np.stack([-odd, even], axis=-1).reshape(signed.shape)
    return np.array_equal(signed, expected)


def _signed(value: ir.Value, x: ir.Value) -> np.ndarray | None:
    """The elements of x that a value is, by numbers from 1, negative where they are negated."""
    node = value.producer()
    if value is x:
        return followed([x]) + 1
    if node is None or not (is_op(node, "Neg", "Concat") or moves(node)):
        return None
    parts = [_signed(needed(node, 0), x)]
    if node.op_type == "Concat":
        parts = [None if each is None else _signed(each, x) for each in node.inputs]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    if node.op_type == "Concat":
        return np.concatenate(found, axis=attribute(node, "axis"))
    return -found[0] if node.op_type == "Neg" else moved(value, found[0])


def is_span(whole: ir.Value, value: ir.Value, first: int, stop: int | None) -> bool:
    """Whether a value is elements [first, stop) of every row of another, and nothing else."""
    node = value.producer()
    if node is None or node.inputs[0] is not whole or not moves(node):
        return False
    numbers = followed([whole])[..., first:stop]
    return np.array_equal(followed([whole, value]), numbers)


def turned_halves(join: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value] | None:
    """(x, cos, sin) of Concat(x1 * cos - x2 * sin, x2 * cos + x1 * sin), x1 and x2 halves of x."""
    if len(join.inputs) != 2 or attribute(join, "axis") not in (
        -1,
        (rank(join.inputs[0]) or 0) - 1,
    ):
        return None
    minus, plus = (
        _products(producer(join.inputs[0], "Sub")),
        _products(producer(join.inputs[1], "Add")),
    )
    if minus is None or plus is None:
        return None
    second = {frozenset(product) for product in plus}
    for x1, cos in (minus[0], minus[0][::-1]):
        for x2, sin in (minus[1], minus[1][::-1]):
            if second == {frozenset((x2, cos)), frozenset((x1, sin))} and x1 is not x2:
                return _whole(x1, x2), cos, sin
    return None


def _products(node: ir.Node | None) -> list[tuple[ir.Value, ir.Value]] | None:
    """The operands of both products that a sum or difference is of."""
    made = [] if node is None else [producer(value, "Mul") for value in node.inputs]
    found = [(needed(each, 0), needed(each, 1)) for each in made if each is not None]
    return found if len(found) == 2 else None


def _whole(x1: ir.Value, x2: ir.Value) -> ir.Value:
    cut, half = x1.producer(), dim(x1, -1)
    whole = None if cut is None else cut.inputs[0]
    if whole is None or half is None or dim(whole, -1) != 2 * half:
        raise Miss("what turns is not a half of a head")
    if not is_span(whole, x1, 0, half) or not is_span(whole, x2, half, 2 * half):
        raise Miss("a head is not rotated by halves")
    return whole
