"""Small tools for reading an `onnx_ir` graph: constants, producers, uses."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.rules import Miss

KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft", "pocket")
DOMAIN = "pocket"  # the op domain of everything that we invent
# Ops of ours that read the counters, and nothing of x but its size.
COUNTING = (
    *("Positions", "KeyPositions", "Distances", "PaddingMask", "CausalMask", "Extent"),
    "TextLength",
)
COUNTERS = ("past", "start", "rows")  # inputs that `canonicalize_dims` adds
TEXT_LENGTH = "text_length"  # one that is added where something depends on it
COUNTED = (*COUNTERS, TEXT_LENGTH)


class GraphError(ValueError):
    """The model is not one that the passes can work on: what, why, and what to try."""

    def __init__(self, what: str, because: str, hint: str) -> None:
        super().__init__(f"{what}: {because}")
        self.what, self.because, self.hint = what, because, hint


class InvalidModel(GraphError):
    """The model breaks a rule of ONNX itself: every runtime refuses it."""


class SizeError(GraphError):
    """The sizes of values contradict each other."""


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of an initializer or a Constant node, or None."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is known at compile time, without reading it."""
    if value is None:
        return False
    return value.const_value is not None or producer(value, "Constant") is not None


def scalar(value: ir.Value | None) -> float | None:
    """The number in a constant of one element, or None."""
    if value is None or not is_constant(value) or value.dtype == ir.DataType.STRING:
        return None
    array = constant(value)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def integers(value: ir.Value | None) -> list[int] | None:
    """The elements of a constant of integers, or None."""
    array = constant(value)
    if array is None or array.dtype.kind not in "iub":
        return None
    return [int(x) for x in array.reshape(-1)]


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes `value` if it is one of the given ops (see `is_op`); any, if none."""
    node = None if value is None else value.producer()
    if node is None or not op_types:
        return node
    return node if is_op(node, *op_types) else None


def is_op(node: ir.Node, *op_types: str) -> bool:
    """Whether the node is one of these ops, of a domain that we know.

    An op of a stranger's domain that bears an ONNX name may compute something else.
    """
    return node.op_type in op_types and node.domain in KNOWN_DOMAINS


def through(value: ir.Value | None, *op_types: str) -> ir.Value | None:
    """Walk from `value` up through nodes of the given types (their first input)."""
    while (node := producer(value, *op_types)) is not None:
        value = operand(node, 0)
    return value


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The Python value of an attribute, or the default."""
    attr = node.attributes.get(name)
    if attr is None:
        return default
    return list(attr.value) if isinstance(attr.value, tuple) else attr.value


def check_attributes(node: ir.Node, known: Iterable[str], **expected: Any) -> None:
    """A Miss for an attribute that is neither `known` nor what is `expected`, as its default is.

    An op grows attributes with its versions; one that a rule passes over would be ignored silently.
    """
    for name in node.attributes:
        found = attribute(node, name)
        if name in expected and found != expected[name]:
            raise Miss(f"its attribute {name} = {found!s:.40} is not supported")
        if name not in known and name not in expected:
            raise Miss(f"its attribute {name} is not known")


def finite(number: float, name: str) -> float:
    """The number; a Miss where it is NaN or infinite, which no kernel takes as an argument."""
    if not math.isfinite(number):
        raise Miss(f"its {name} is {number}")
    return float(number)


def opset(node: ir.Node) -> int:
    """The version of ONNX's own ops that the node's graph is written in."""
    imports = {} if node.graph is None else node.graph.opset_imports
    return imports.get("", imports.get("ai.onnx", 18))


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index`, or None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def needed(node: ir.Node, index: int) -> ir.Value:
    """Input `index` of a node that is of no use without it."""
    value = operand(node, index)
    if value is None:
        raise Miss(f"input {index} is missing")
    return value


def other(node: ir.Node, value: ir.Value) -> ir.Value:
    """The other operand of a binary node."""
    return needed(node, 1 if node.inputs[0] is value else 0)


def rank(value: ir.Value | None) -> int | None:
    """The number of dimensions, where known."""
    return None if value is None or value.shape is None else value.shape.rank()


def dim(value: ir.Value | None, axis: int) -> int | None:
    """The size along an axis, where it is known and fixed."""
    size = rank(value)
    if value is None or value.shape is None or size is None or not -size <= axis < size:
        return None
    found = value.shape[axis]
    return found if isinstance(found, int) else None


def sole_use(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one node that reads `value`, if there is exactly one, of one of the given types."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    return node if not op_types or is_op(node, *op_types) else None


def linear(value: ir.Value | None) -> ir.Node | None:
    """The MatMul or Linear with a constant matrix that makes `value`."""
    node = producer(value, "MatMul", "Linear")
    if node is None:
        return None
    weight = operand(node, 1)
    return node if is_constant(weight) and rank(weight) == 2 else None
