"""Ops that only move elements, followed on numpy arrays of the elements' numbers."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.dims import evaluated
from onnx_passes.ir.graph import attribute, integers, is_constant, is_op, operand
from onnx_passes.ir.rules import Miss

# Sizes that are followed: of more tokens than one, so that it shows where tokens change places.
_AT = {"seq": 3, "past": 0, "rows": 3}
_RESHAPES = ("Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity")
_MOVES = (*_RESHAPES, "Transpose", "Split", "Slice", "Gather")


def moves(node: ir.Node) -> bool:
    """Whether a node only moves elements of its first input, to places that are constant."""
    return is_op(node, *_MOVES) and all(is_constant(v) for v in node.inputs[1:] if v is not None)


def followed(path: Sequence[ir.Value]) -> np.ndarray:
    """The numbers of the first value's elements, in the places where the last value has them.

    path  each value but the first is made from the one before by a node that moves
    """
    first, *others = path
    sizes = shape_at(first)
    array = np.arange(int(np.prod(sizes, dtype=np.int64))).reshape(sizes)
    for value in others:
        array = moved(value, array)
    return array


def shape_at(value: ir.Value) -> list[int]:
    """The shape of a value where a few tokens are followed."""
    try:
        return [evaluated(size, _AT) for size in value.shape or ()]
    except (KeyError, ValueError):
        raise Miss(f"the shape of {value.name} is not known") from None


def moved(value: ir.Value, x: np.ndarray) -> np.ndarray:
    """A value that its node makes of x by moving its elements."""
    try:
        made = _made(value, x)
    except (ValueError, IndexError, TypeError):  # sizes of a damaged file
        raise Miss(f"what makes {value.name} contradicts its operands") from None
    if list(made.shape) != shape_at(value):
        raise Miss(f"the shape of {value.name} is not known")
    return made


def _made(value: ir.Value, x: np.ndarray) -> np.ndarray:
    node, shape = value.producer(), shape_at(value)
    assert node is not None
    if node.op_type in _RESHAPES:
        return x.reshape(shape) if x.size == np.prod(shape) else x
    if node.op_type == "Transpose":
        return np.transpose(x, attribute(node, "perm"))
    if node.op_type == "Gather":
        return _gathered(node, x)
    return np.asarray(x[_sliced(node) if node.op_type == "Slice" else _split(node, value, x)])


def _gathered(node: ir.Node, x: np.ndarray) -> np.ndarray:
    index = operand(node, 1)
    places = np.array(integers(index)).reshape([] if index is None else shape_at(index))
    axis = attribute(node, "axis", 0)
    if (places >= x.shape[axis]).any() or (places < -x.shape[axis]).any():
        raise Miss(f"{node.name} reads beyond an axis")
    return np.take(x, places, axis)


def _sliced(node: ir.Node) -> tuple[slice, ...]:
    starts, stops = (integers(operand(node, i)) or [] for i in (1, 2))
    axes = integers(operand(node, 3)) or list(range(len(starts)))
    steps = integers(operand(node, 4)) or [1] * len(starts)
    ranks = len(node.outputs[0].shape or ())
    found = [slice(None)] * ranks
    for axis, *each in zip(axes, starts, stops, steps, strict=True):
        found[axis % ranks] = slice(*each)
    return tuple(found)


def _split(node: ir.Node, value: ir.Value, x: np.ndarray) -> tuple[slice, ...]:
    axis = attribute(node, "axis", 0) % x.ndim
    sizes = [shape_at(output)[axis] for output in node.outputs]
    index = value.index() or 0
    first = sum(sizes[:index])
    return (*[slice(None)] * axis, slice(first, first + sizes[index]))
