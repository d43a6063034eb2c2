"""Rules of inference that correct, or replace, those of `onnx-shape-inference` that guess or dally.

A shape that cannot be known stays unknown: two sizes of different names may be equal, or one of
them 1; a slice may end beyond the end of the tensor; what is expanded may be larger than the
target. (tests/passes/test_sound_rules.py holds all rules to ONNX's own test cases.)
"""

import itertools
from collections.abc import Iterable, Sequence

import onnx_ir as ir

from onnx_passes.ir.dims import Dim
from onnx_passes.ir.graph import attribute, operand
from onnx_passes.ir.shapes.rule_context import Context, Rule, elements
from onnx_passes.ir.shapes.slice_rule import infer_slice

BROADCASTING = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "And", "Or"),
    *("Xor", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "BitShift"),
    *("BitwiseAnd", "BitwiseOr", "BitwiseXor"),
)


def _constant(context: Context, node: ir.Node) -> None:
    """Of the tensor, where `infer` noted it."""
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    if tensor is not None:
        shape = ir.Shape(tensor.shape.numpy())
        context.set_shape_and_dtype(node.outputs[0], shape, tensor.dtype)


def _broadcast(context: Context, node: ir.Node) -> None:
    _set_joined(context, node, [v.shape for v in node.inputs if v is not None])


def _expand(context: Context, node: ir.Node) -> None:
    x, target = operand(node, 0), elements(context, node, 1)
    context.set_shape_and_dtype(node.outputs[0], None, None if x is None else x.dtype)
    shapes = [None if x is None else x.shape, None if target is None else ir.Shape(target)]
    _set_joined(context, node, shapes)


def _matmul(context: Context, node: ir.Node) -> None:
    """The dimensions before the last two broadcast."""
    output, shapes = node.outputs[0], [v.shape for v in node.inputs if v is not None]
    outer = [s[:-2] for s in shapes if s is not None and s.rank() > 2]
    if output.shape is not None and len(outer) == 2:
        output.shape = ir.Shape([*_joined(context, outer), *output.shape[-2:]])


def _set_joined(context: Context, node: ir.Node, shapes: Sequence[ir.Shape | None]) -> None:
    known = [shape for shape in shapes if shape is not None]
    complete = len(known) == len(shapes)
    node.outputs[0].shape = ir.Shape(_joined(context, known)) if complete else None


def _joined(context: Context, shapes: Iterable[Iterable[Dim]]) -> list[Dim]:
    """What shapes broadcast to."""
    columns = itertools.zip_longest(*(reversed(list(shape)) for shape in shapes), fillvalue=1)
    return [_common(context, column) for column in columns][::-1]


def _common(context: Context, sizes: Sequence[Dim]) -> Dim:
    """The one that is not 1; unknown where there are several, all of them names."""
    others = {str(size): size for size in sizes if size != 1}
    numbers = [size for size in others.values() if isinstance(size, int)]
    if numbers or len(others) < 2:
        return next(iter((*numbers, *others.values())), 1)
    return context.new_symbolic_dim()


def _pool(context: Context, node: ir.Node) -> None:
    """With ceil_mode, a last window that would begin in the padding is left out."""
    output = node.outputs[0]
    if attribute(node, "ceil_mode", 0) and output.shape is not None:
        _forget(context, output, range(2, output.shape.rank()))


def _resize(context: Context, node: ir.Node) -> None:
    """A policy that keeps the ratio of the sides takes other sizes than those asked for."""
    output = node.outputs[0]
    policy = attribute(node, "keep_aspect_ratio_policy", "stretch")
    if policy != "stretch" and output.shape is not None:
        _forget(context, output, range(output.shape.rank()), numbers=True)


def _chosen(context: Context, node: ir.Node) -> None:
    """Compress and Unique along an axis keep the others."""
    x, axis = operand(node, 0), attribute(node, "axis")
    if axis is None or x is None:
        return
    node.outputs[0].shape = None if x.shape is None else ir.Shape(list(x.shape))
    if x.shape is not None:
        _forget(context, node.outputs[0], [axis % x.shape.rank()], numbers=True)


def _forget(context: Context, value: ir.Value, axes: Iterable[int], numbers: bool = False) -> None:
    """Make sizes unknown; those that are numbers only on request."""
    dims: list[Dim] = list(value.shape or ())
    for axis in axes:
        if numbers or not isinstance(dims[axis], int):
            dims[axis] = context.new_symbolic_dim()
    value.shape = ir.Shape(dims)


AFTER: dict[str, Rule] = {
    **dict.fromkeys(BROADCASTING, _broadcast),
    "MatMul": _matmul,
    "Compress": _chosen,
    "Unique": _chosen,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "LpPool": _pool,
    "Resize": _resize,
}
INSTEAD: dict[str, Rule] = {"Constant": _constant, "Expand": _expand, "Slice": infer_slice}
