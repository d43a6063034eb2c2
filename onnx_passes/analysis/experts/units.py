"""Experts that tokens chose, and one that all of them take: two products with a gated unit."""

from typing import NamedTuple

import onnx_ir as ir

from onnx_passes.ir.graph import (
    dim,
    integers,
    is_op,
    linear,
    needed,
    operand,
    producer,
    rank,
    through,
)
from onnx_passes.ir.rules import Miss

MOVED = ("Reshape", "Unsqueeze", "Squeeze")
PRODUCTS = ("Experts", "MatMul", "Linear")


class Unit(NamedTuple):
    """Two products, of matrices or of chosen ones, with a gated unit between."""

    first: ir.Node
    kind: str  # the gated unit's overload
    last: ir.Node

    @property
    def has_biases(self) -> bool:
        """Of either product."""
        return any(node.overload or is_op(node, "Linear") for node in (self.first, self.last))


class Chosen(NamedTuple):
    """What experts make of x [.., 1, K], the k that each token chose, weighed by gates [.., 1]."""

    x: ir.Value
    unit: Unit
    gates: ir.Value
    k: int


class Shared(NamedTuple):
    """The same with one matrix each; `gate`: what it counts, [.., 1], if not 1."""

    unit: Unit
    gate: ir.Value | None

    @property
    def x(self) -> ir.Value:
        """What it reads."""
        return needed(self.unit.first, 0)


def _unit(last: ir.Node | None) -> Unit | None:
    """The unit that a product ends."""
    glu = producer(through(operand(last, 0), *MOVED), "Glu") if last else None
    first = producer(through(operand(glu, 0), *MOVED), *PRODUCTS) if glu else None
    if last is None or glu is None or first is None or _chooses(first) != _chooses(last):
        return None
    if dim(glu.inputs[0], -1) != dim(first.outputs[0], -1):
        raise Miss("gates and ups are not the columns of one product")
    if dim(glu.outputs[0], -1) != dim(last.inputs[0], -1):
        raise Miss("a product's rows are not what a unit makes")
    return Unit(first, glu.overload or "", last)


def _chooses(product: ir.Node) -> bool:
    return product.op_type == "Experts"


def chosen_experts(value: ir.Value | None) -> Chosen | None:
    """ReduceSum over choices of a product of experts, times gates."""
    total = producer(through(value, *MOVED), "ReduceSum")
    weighed = producer(through(operand(total, 0), *MOVED), "Mul") if total else None
    k, size = (dim(total.inputs[0], -2), rank(total.inputs[0])) if total else (None, None)
    if total is None or weighed is None or k is None or size is None:
        return None
    if integers(operand(total, 1)) not in ([-2], [size - 2]):
        return None
    for outputs, gates in (weighed.inputs, weighed.inputs[::-1]):
        unit = _unit(producer(outputs, "Experts"))
        if unit is not None and outputs is not None and gates is not None:
            _check(unit, outputs, gates, needed(total, 0))
            return Chosen(_once(unit.first, k), unit, gates, k)
    return None


def _one_a_row(value: ir.Value) -> ir.Shape | None:
    return None if value.shape is None else ir.Shape([*value.shape[:-1], 1])


def _check(unit: Unit, outputs: ir.Value, gates: ir.Value, summands: ir.Value) -> None:
    """Rows are choices of tokens, in order, and each counts what one gate says."""
    if unit.first.inputs[2] is not unit.last.inputs[2]:
        raise Miss("its two products are of different experts")
    if gates.shape is None or gates.shape != _one_a_row(outputs):
        raise Miss("its gates are not one for each choice")
    if dim(outputs, -1) is None or dim(summands, -1) != dim(outputs, -1):
        raise Miss("its sum is not over choices")


def _once(first: ir.Node, k: int) -> ir.Value:
    """What all experts of a token read: x [.., 1, K], which may be repeated for each."""
    x, indices = needed(first, 0), needed(first, 2)
    spread = producer(through(x, *MOVED), "Expand")
    if spread is None:
        if dim(x, -2) != 1 or dim(indices, -1) != k or rank(x) != (rank(indices) or 0) + 1:
            raise Miss("experts of a token do not read the same")
        return x
    once, wide = needed(spread, 0), spread.outputs[0]
    before, after = ([dim(value, axis) for axis in (-2, -1)] for value in (once, wide))
    if before != [1, dim(x, -1)] or after != [k, dim(x, -1)]:
        raise Miss("experts of a token do not read the same")
    return once


def shared_expert(value: ir.Value | None) -> Shared | None:
    """A product with constant matrices, perhaps times a number for each row."""
    moved = through(value, *MOVED)
    weighed = producer(moved, "Mul")
    for outputs, gate in (weighed.inputs, weighed.inputs[::-1]) if weighed else ((moved, None),):
        unit = _unit(linear(outputs))
        if unit is None or linear(unit.first.outputs[0]) is None or outputs is None:
            continue
        if gate is not None and gate.shape != _one_a_row(outputs):
            raise Miss("the shared expert does not count one number for each row")
        return Shared(unit, gate)
    return None
