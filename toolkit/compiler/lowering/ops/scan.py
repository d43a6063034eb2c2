"""Ops along an axis in order: its first k elements, what all up to each make together."""

import onnx_ir as ir

from onnx_passes.ir.dims import symbolic_value
from onnx_passes.ir.graph import DOMAIN, attribute, dim, integers, needed, operand, rank
from opencl_kernels.map.functions import BOOL
from opencl_kernels.rows.rows import SOFTMAX
from opencl_kernels.scan.groups import Groups
from opencl_kernels.scan.topk import SHORT
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import Deferred, Softmax
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.ordered import emit_scan, emit_topk
from toolkit.compiler.lowering.values import (
    CHEAP,
    kind_of,
    operand_of,
    reread,
    shape_of,
    storage_of,
)
from toolkit.compiler.views.scalar import Load
from toolkit.compiler.views.view import View, axes_of, in_memory, linear, size_of, transposed


def axis_of(node: ir.Node, default: int) -> int:
    """The axis, counted from the first."""
    return int(attribute(node, "axis", default)) % (rank(needed(node, 0)) or 1)


def axis_last(axis: int, ranks: int) -> list[int]:
    """The order of axes in which this one comes last."""
    return [*(k for k in range(ranks) if k != axis), axis]


def _output(b: PhaseBuilder, y: ir.Value, axis: int) -> Location:
    """Memory for a value in which `axis` lies last."""
    shape, dtype = shape_of(b, y), storage_of(b, y)
    order = axis_last(axis, len(shape))
    if axis == len(shape) - 1:
        return b.output(y, dtype=dtype)
    moved = tuple(shape[k] for k in order)
    location = Location(b.temporary(y.name or "", dtype, [size_of(s) for s in moved]), dtype)
    places = [order.index(k) for k in range(len(order))]
    b.views[y] = transposed(in_memory(location, moved), places)
    return location


def lower_topk(b: PhaseBuilder, node: ir.Node) -> None:
    """The k greatest or least elements along an axis, and their places."""
    k = _count(node)
    assert k is not None
    _emit_first(b, node, axis_of(node, -1), k, bool(attribute(node, "largest", 1)))


def lower_group_topk(b: PhaseBuilder, node: ir.Node) -> None:
    """The k greatest elements of the best groups of a row, and their places."""
    count, best, kept, k = (attribute(node, name) for name in ("groups", "best", "kept", "k"))
    last = (rank(needed(node, 0)) or 1) - 1
    _emit_first(b, node, last, k, groups=Groups(count, best, kept, repr(attribute(node, "fill"))))


def _emit_first(
    b: PhaseBuilder,
    node: ir.Node,
    axis: int,
    k: int,
    largest: bool = True,
    groups: Groups | None = None,
) -> None:
    x = _of_rows(b, needed(node, 0), axis)
    values, indices = (_output(b, y, axis) for y in node.outputs)
    rows = transposed(x, axis_last(axis, len(x.shape)))
    softmax = _softmax(rows)
    read, by = (rows, None) if softmax is None else (softmax.x, SOFTMAX)
    emit_topk(b, label(node), values, indices, read, k, largest, by=by, groups=groups)


def _of_rows(b: PhaseBuilder, x: ir.Value, axis: int) -> View:
    """The View for a kernel that keeps a short row's elements, and reads a longer one's again."""
    size = dim(x, axis)
    return reread(b, x, CHEAP) if size is None or size > SHORT else operand_of(b, x)


def _softmax(view: View) -> Softmax | None:
    """The softmax that waits and that a View is, element by element."""
    axes = axes_of(view.shape)
    element = view.read(axes)
    memory = element.source if isinstance(element, Load) else None
    if not isinstance(memory, Deferred) or not isinstance(memory.of, Softmax) or not memory.waits:
        return None
    same = isinstance(element, Load) and element.at == linear(axes, view.shape)
    return memory.of if same and memory.shape[-1] == view.shape[-1] else None


def _count(node: ir.Node) -> int | None:
    """The k of a TopK, where it is known."""
    sizes = symbolic_value(operand(node, 1)) or []
    return int(sizes[0]) if len(sizes) == 1 and sizes[0].is_Integer else None


def check_topk(node: ir.Node, tokens: str) -> str | None:
    """Numbers, and a k that is known."""
    if _count(node) is None:
        return "its k is computed: a plan's sizes must not depend on the data"
    return check_numbers(node, tokens) if _count(node) else "its k is 0"


def check_group_topk(node: ir.Node, _: str) -> str | None:
    """Rows that a work-item keeps."""
    size = dim(needed(node, 0), -1)
    known = size is not None and max(size, attribute(node, "k")) <= SHORT
    return None if known else f"its rows have more than {SHORT} elements, or an open number"


def lower_arg(b: PhaseBuilder, node: ir.Node) -> None:
    """The place of the greatest or least element: the first of one."""
    x, y, axis = reread(b, needed(node, 0)), node.outputs[0], axis_of(node, 0)
    rows = transposed(x, axis_last(axis, len(x.shape)))
    sizes = [size_of(size) for size in rows.shape[:-1]]
    found = Location(b.temporary(f"{label(node)} element", x.dtype, sizes), x.dtype)
    largest, later = node.op_type == "ArgMax", bool(attribute(node, "select_last_index", 0))
    emit_topk(b, label(node), found, b.output(y, dtype="i64"), rows, 1, largest, later)


def check_numbers(node: ir.Node, _: str) -> str | None:
    """Floats or integers."""
    return "truth values are no numbers" if kind_of(needed(node, 0)) == BOOL else None


SCANS = {"CumSum": "sum", "CumProd": "product"}


def lower_scan(b: PhaseBuilder, node: ir.Node) -> None:
    """What all elements along an axis up to each make together."""
    x, y = operand_of(b, needed(node, 0)), node.outputs[0]
    (given,) = integers(needed(node, 1)) or [0]
    axis = given % len(x.shape)
    rows = transposed(x, axis_last(axis, len(x.shape)))
    flags = (bool(attribute(node, name, 0)) for name in ("exclusive", "reverse"))
    emit_scan(b, label(node), _output(b, y, axis), rows, SCANS[node.op_type], *flags)


def check_scan(node: ir.Node, tokens: str) -> str | None:
    """Numbers, along an axis that is known."""
    given = integers(operand(node, 1))
    return "its axis is computed" if given is None else check_numbers(node, tokens)


SCAN = (
    Lowering("", "TopK", lower_topk, check_topk),
    Lowering(DOMAIN, "GroupTopK", lower_group_topk, check_group_topk),
    Lowering("", "ArgMax", lower_arg, check_numbers),
    Lowering("", "ArgMin", lower_arg, check_numbers),
    *(Lowering("", name, lower_scan, check_scan) for name in SCANS),
)
