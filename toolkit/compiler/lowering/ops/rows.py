"""Softmax, norms and reductions: statistics over axes of a View."""

from functools import partial

import onnx_ir as ir

from onnx_passes.ir.graph import attribute, integers, needed, operand, opset
from opencl_kernels.map.functions import BOOL, FLOAT
from opencl_kernels.rows.rows import SOFTMAX, layer_norm
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import Deferred, Softmax
from toolkit.compiler.lowering.dispatches import emit_reduce, emit_rows
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.values import kind_of, operand_of, storage_of, unknown_type
from toolkit.compiler.views.poly import product
from toolkit.compiler.views.view import (
    View,
    elementwise,
    expanded,
    in_memory,
    reshaped,
    size_of,
    transposed,
)


def lower_softmax(b: PhaseBuilder, node: ir.Node) -> None:
    """Softmax over one axis, which becomes the last."""
    x, y = operand_of(b, needed(node, 0)), node.outputs[0]
    axis = attribute(node, "axis", -1 if opset(node) >= 13 else 1) % len(x.shape)
    perm = [*(k for k in range(len(x.shape)) if k != axis), axis]
    moved = transposed(x, perm)
    later = Deferred(
        b.settings.activations, moved.shape, Softmax(moved), partial(_soften, b, label(node), moved)
    )
    places = [perm.index(k) for k in range(len(perm))]
    b.views[y] = transposed(in_memory(later, moved.shape), places)


def _soften(b: PhaseBuilder, name: str, x: View) -> Location:
    """The softmax of a View in memory of its own."""
    dtype = b.settings.activations
    into = Location(b.temporary(name, dtype, [size_of(size) for size in x.shape]), dtype)
    emit_rows(b, name, into, x, SOFTMAX)
    return into


def check_softmax(node: ir.Node, _: str) -> str | None:
    """Before opset 13 it was over all axes from one on."""
    x, axis = needed(node, 0), attribute(node, "axis", 1)
    if opset(node) < 13 and (x.shape is None or axis not in (-1, x.shape.rank() - 1)):
        return "it is over several axes, as softmax was before opset 13"
    return None


def lower_layer_norm(b: PhaseBuilder, node: ir.Node) -> None:
    """LayerNormalization over the last axes, with a scale and perhaps a bias."""
    x, y = operand_of(b, needed(node, 0)), node.outputs[0]
    axis = attribute(node, "axis", -1) % len(x.shape)
    inner = product(x.shape[axis:])
    flat = reshaped(x, (*x.shape[:axis], inner))
    given = [value for i in (1, 2) if (value := operand(node, i)) is not None]
    vectors = [reshaped(expanded(operand_of(b, v), x.shape), flat.shape) for v in given]
    assert inner.number is not None
    statistics = layer_norm(
        inner.number,
        attribute(node, "epsilon", 1e-5),
        "{unit} * {{v0}}" + (" + {{v1}}" if len(given) == 2 else ""),
    )
    emit_rows(b, label(node), b.output(y), flat, statistics, vectors)


def check_layer_norm(node: ir.Node, _: str) -> str | None:
    """Only the result is computed, over axes of known size."""
    if any(output.uses() for output in node.outputs[1:]):
        return "its mean and deviation are read"
    x, axis = needed(node, 0), attribute(node, "axis", -1)
    known = x.shape is not None and all(isinstance(d, int) for d in list(x.shape)[axis:])
    return None if known else "it is over an axis of open size"


# op: the reduction, an element over x, the result over s and how many elements n it is made of
REDUCTIONS = {
    "ReduceSum": ("sum", "{x}", "s"),
    "ReduceMean": ("sum", "{x}", "s / {n}"),
    "ReduceMax": ("max", "{x}", "s"),
    "ReduceMin": ("min", "{x}", "s"),
    "ReduceProd": ("product", "{x}", "s"),
    "ReduceSumSquare": ("sum", "({x}) * ({x})", "s"),
    "ReduceL1": ("sum", "Abs({x})", "s"),
    "ReduceL2": ("sum", "({x}) * ({x})", "Sqrt(s)"),
    "ReduceLogSum": ("sum", "{x}", "Log(s)"),
}
OF_FLOATS = ("ReduceL2", "ReduceLogSum")


def lower_reduce(b: PhaseBuilder, node: ir.Node) -> None:
    """A reduction over some axes."""
    x, y = operand_of(b, needed(node, 0)), node.outputs[0]
    reduced = _axes(node, len(x.shape))
    kept = [k for k in range(len(x.shape)) if k not in reduced]
    op, element, result = REDUCTIONS[node.op_type]
    if x.kind == BOOL:
        x, result = elementwise("Int", [x], "i64"), f"Bool({result})"
    moved = transposed(x, [*kept, *reduced])
    into = b.output(y, dtype=storage_of(b, y))
    emit_reduce(b, label(node), into, moved, len(reduced), op, element, result)


def check_reduce(node: ir.Node, _: str) -> str | None:
    """Over axes that are known; roots and logarithms are of floats."""
    x, given = needed(node, 0), operand(node, 1)
    if (unknown := unknown_type(x)) is not None:
        return unknown
    if node.op_type in OF_FLOATS and kind_of(x) != FLOAT:
        return "it is not computed for whole numbers"
    if given is not None and integers(given) is None:
        return "its axes are computed"
    return None if x.shape is not None and _axes(node, x.shape.rank()) else "it reduces no axis"


def _axes(node: ir.Node, ranks: int) -> list[int]:
    given = integers(operand(node, 1)) or attribute(node, "axes")
    if not given:
        return [] if attribute(node, "noop_with_empty_axes", 0) else list(range(ranks))
    return sorted(axis % ranks for axis in given)


ROWS = (
    Lowering("", "Softmax", lower_softmax, check_softmax),
    Lowering("", "LayerNormalization", lower_layer_norm, check_layer_norm),
    *(Lowering("", name, lower_reduce, check_reduce) for name in REDUCTIONS),
)
