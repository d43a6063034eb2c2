"""Softmax, norms and reductions: statistics over axes of a View."""

import functools
from functools import partial

import onnx_ir as ir

from onnx_passes.ir.graph import (
    attribute,
    dim,
    integers,
    is_constant,
    needed,
    operand,
    opset,
    rank,
)
from opencl_kernels.map.functions import BOOL, FLOAT
from opencl_kernels.rows.rows import LOG_SOFTMAX, SOFTMAX, Statistics, layer_norm
from toolkit.compiler.lowering.builder import Location, PendingNorm, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import Deferred, Softmax, Sum
from toolkit.compiler.lowering.dispatches import emit_reduce, emit_rows, is_empty
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.products.fused import products_take
from toolkit.compiler.lowering.products.mixtures import experts_wait_for
from toolkit.compiler.lowering.values import kind_of, operand_of, shape_of, storage_of, stored
from toolkit.compiler.views.poly import poly, product
from toolkit.compiler.views.scalar import Load, Scalar
from toolkit.compiler.views.simplify import apply
from toolkit.compiler.views.view import (
    At,
    View,
    axes_of,
    elementwise,
    expanded,
    in_memory,
    reshaped,
    size_of,
    transposed,
)


def lower_softmax(b: PhaseBuilder, node: ir.Node) -> None:
    """Softmax or its logarithm over one axis, which becomes the last."""
    x, y = operand_of(b, needed(node, 0)), node.outputs[0]
    axis = attribute(node, "axis", -1 if opset(node) >= 13 else 1) % len(x.shape)
    perm = [*(k for k in range(len(x.shape)) if k != axis), axis]
    moved = transposed(x, perm)
    later = Deferred(
        b.settings.activations, moved.shape, Softmax(moved), partial(_soften, b, label(node), moved)
    )
    places = [perm.index(k) for k in range(len(perm))]
    b.views[y] = transposed(in_memory(later, moved.shape), places)


def lower_log_softmax(b: PhaseBuilder, node: ir.Node) -> None:
    """The logarithm of softmax, which loses nothing where softmax is nearly zero."""
    x, y = operand_of(b, needed(node, 0)), node.outputs[0]
    axis = attribute(node, "axis", -1 if opset(node) >= 13 else 1) % len(x.shape)
    perm = [*(k for k in range(len(x.shape)) if k != axis), axis]
    into = _soften(b, label(node), transposed(x, perm), LOG_SOFTMAX)
    places = [perm.index(k) for k in range(len(perm))]
    b.views[y] = transposed(in_memory(into, transposed(x, perm).shape), places)


def _soften(b: PhaseBuilder, name: str, x: View, by: Statistics = SOFTMAX) -> Location:
    """The softmax of a View in memory of its own."""
    dtype = b.settings.activations
    into = Location(b.temporary(name, dtype, [size_of(size) for size in x.shape]), dtype)
    emit_rows(b, name, into, x, by)
    return into


def check_softmax(node: ir.Node, _: str) -> str | None:
    """Before opset 13 it was over all axes from one on."""
    x, axis = needed(node, 0), attribute(node, "axis", 1)
    if opset(node) < 13 and (x.shape is None or axis not in (-1, x.shape.rank() - 1)):
        return "it is over several axes, as softmax was before opset 13"
    return None


def lower_layer_norm(b: PhaseBuilder, node: ir.Node) -> None:
    """LayerNormalization over the last axes, with a scale and perhaps a bias."""
    if _has_vectors(node) and products_take(b, node, partial(_pending, b, node)):
        return
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


def _pending(b: PhaseBuilder, node: ir.Node) -> PendingNorm:
    gamma, beta, eps = needed(node, 1), operand(node, 2), attribute(node, "epsilon", 1e-5)
    location = stored(b, needed(node, 0), last_rows=True)
    return PendingNorm(location, gamma, eps, centred=True, beta=beta)


def _has_vectors(node: ir.Node) -> bool:
    """Whether a LayerNormalization is over the last axis, its scale and bias vectors of that."""
    x, given = needed(node, 0), [value for value in node.inputs[1:] if value is not None]
    width, ranks = dim(x, -1), rank(x)
    constant = all(is_constant(v) and rank(v) == 1 and dim(v, 0) == width for v in given)
    return constant and attribute(node, "axis", -1) in (-1, (ranks or 0) - 1)


def check_layer_norm(node: ir.Node, _: str) -> str | None:
    """Only the result is computed, over axes of known size."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return "its mean and deviation are read"
    x, axis = needed(node, 0), attribute(node, "axis", -1)
    known = x.shape is not None and all(isinstance(d, int) for d in list(x.shape)[axis:])
    return None if known else "it is over an axis of open size"


# op: the reduction, what is made of an element, and of the result s of n elements
REDUCTIONS = {
    "ReduceSum": ("sum", "Identity", "s"),
    "ReduceMean": ("sum", "Identity", "s / {n}"),
    "ReduceMax": ("max", "Identity", "s"),
    "ReduceMin": ("min", "Identity", "s"),
    "ReduceProd": ("product", "Identity", "s"),
    "ReduceSumSquare": ("sum", "Square", "s"),
    "ReduceL1": ("sum", "Abs", "s"),
    "ReduceL2": ("sum", "Square", "Sqrt(s)"),
    "ReduceLogSum": ("sum", "Identity", "Log(s)"),
}
SHORT = 8  # elements of a sum that is cheaper to compute again than to keep
OF_FLOATS = ("ReduceL2", "ReduceLogSum")


def lower_reduce(b: PhaseBuilder, node: ir.Node) -> None:
    """A reduction over some axes."""
    x, y = operand_of(b, needed(node, 0)), node.outputs[0]
    op, each, value = REDUCTIONS[node.op_type]
    if x.kind == BOOL:
        x, value = elementwise("Int", [x], "i64"), f"({value}) > 0"
    of_each = (
        elementwise("Mul", [x, x], x.dtype) if each == "Square" else elementwise(each, [x], x.dtype)
    )
    reduced = _axes(node, len(x.shape)) or [len(x.shape)]
    if reduced == [len(x.shape)]:  # every element is the only one of its sum
        of_each = reshaped(of_each, (*x.shape, poly(1)))
    kept = [k for k in range(len(of_each.shape)) if k not in reduced]
    moved = transposed(of_each, [*kept, *reduced])
    if node.op_type == "ReduceSum" and moved.kind == FLOAT and _is_short(moved, len(reduced)):
        b.views[y] = reshaped(_written_out(moved, len(reduced)), shape_of(b, y))
        return
    fill = partial(_reduce, b, node, moved, len(reduced), op, value)
    if not experts_wait_for(moved) or len(reduced) > 1 or node.op_type != "ReduceSum":
        fill()
        return
    later = Deferred(storage_of(b, y), shape_of(b, y), Sum(node, moved), fill)
    b.views[y] = in_memory(later, later.shape)


def _is_short(x: View, reduced: int) -> bool:
    """Whether a sum is of so few elements, as they lie in memory, that its readers compute it."""
    count = product(x.shape[len(x.shape) - reduced :]).number
    element = x.read(axes_of(x.shape))
    short = count is not None and count <= SHORT and isinstance(element, Load)
    return short and not is_empty(x.shape)


def _written_out(x: View, reduced: int) -> View:
    """The sum over the last axes, element by element."""
    outer = len(x.shape) - reduced
    count = product(x.shape[outer:])
    flat = reshaped(x, (*x.shape[:outer], count))

    def read(at: At) -> Scalar:
        every = (flat.read([*at, poly(j)]) for j in range(count.number or 0))
        return functools.reduce(partial(apply, "Add"), every)

    return View(x.shape[:outer], x.dtype, read)


def _reduce(b: PhaseBuilder, node: ir.Node, x: View, reduced: int, op: str, value: str) -> Location:
    """The reduction in memory of its own."""
    y = node.outputs[0]
    into = b.output(y, dtype=storage_of(b, y))
    emit_reduce(b, label(node), into, x, reduced, op, value)
    return into


def check_reduce(node: ir.Node, _: str) -> str | None:
    """Over axes that are known; roots and logarithms are of floats."""
    x, given = needed(node, 0), operand(node, 1)
    if node.op_type in OF_FLOATS and kind_of(x) != FLOAT:
        return "it is not computed for whole numbers"
    if given is not None and integers(given) is None:
        return "its axes are computed"
    return None


def _axes(node: ir.Node, ranks: int) -> list[int]:
    given = integers(operand(node, 1)) or attribute(node, "axes")
    if not given:
        return [] if attribute(node, "noop_with_empty_axes", 0) else list(range(ranks))
    return sorted(axis % ranks for axis in given)


ROWS = (
    Lowering("", "Softmax", lower_softmax, check_softmax),
    Lowering("", "LogSoftmax", lower_log_softmax, check_softmax),
    Lowering("", "LayerNormalization", lower_layer_norm, check_layer_norm),
    *(Lowering("", name, lower_reduce, check_reduce) for name in REDUCTIONS),
)
