"""What a Slice leaves of sizes that are expressions, and of elements that are known."""

import onnx_ir as ir
import sympy

from onnx_passes.ir.dims import Dim, as_dim, as_expr, is_anonymous, parse
from onnx_passes.ir.graph import operand
from onnx_passes.ir.shapes.rule_context import CONTEXT, Context, elements

FAR = 2**31 - 1  # exporters write this or more for "to the end"
Column = list[Dim | None]  # of starts, ends, axes or steps; None where an entry is unknown


def infer_slice(context: Context, node: ir.Node) -> None:
    """Shape, type and known elements of a Slice."""
    x, output = operand(node, 0), node.outputs[0]
    if x is None:
        return
    context.set_shape_and_dtype(output, None, x.dtype)
    if x.shape is None:
        return
    columns, dims = _columns(context, node), list[Dim](x.shape)
    cuts = None if columns is None else list(zip(*columns, strict=True))
    if cuts is None or not all(isinstance(axis, int) for _, _, axis, _ in cuts):
        output.shape = ir.Shape([context.new_symbolic_dim() for _ in dims])
        return
    for start, end, axis, step in cuts:
        assert isinstance(axis, int)
        left = _extent(dims[axis], start, end, step)
        dims[axis] = context.new_symbolic_dim() if left is None else left
    output.shape = ir.Shape(dims)
    if len(dims) == len(cuts) == 1:
        _cut_elements(context, x, output, cuts[0])


def _columns(context: Context, node: ir.Node) -> list[Column] | None:
    """Starts, ends, axes and steps; None where not even their number is known."""
    starts = operand(node, 1)
    count = None if starts is None or starts.shape is None else starts.shape[0]
    if not isinstance(count, int):
        return None
    unknown: Column = [None] * count
    defaults: list[Column] = [unknown, unknown, list(range(count)), [1] * count]
    columns: list[Column] = []
    for index, default in enumerate(defaults, 1):
        found = elements(context, node, index)
        left_out = operand(node, index) is None
        columns.append(default if left_out else unknown if found is None else [*found])
    return columns


def _extent(size: Dim, start: Dim | None, end: Dim | None, step: Dim | None) -> Dim | None:
    """How much of a size is left; None where that is unknown."""
    cut = _numbers(start, end, step)
    if isinstance(size, int) and cut is not None:
        return len(range(*cut.indices(size)))
    if step == -1 and isinstance(start, int) and isinstance(end, int):
        return size if (start == -1 or start >= FAR) and end <= -FAR else None
    if not isinstance(step, int) or step < 1 or (not isinstance(size, int) and size.value is None):
        return None
    whole = as_expr(size)
    begin, stop = from_front(start, whole), from_front(end, whole)
    if begin is None or stop is None:
        return None
    return as_dim(sympy.Max(0, sympy.ceiling((sympy.Min(stop, whole) - begin) / step)))


def from_front(place: Dim | None, size: sympy.Expr) -> sympy.Expr | None:
    """A place counted from the front; None where it may be either side of zero."""
    if place is None or is_anonymous(place):
        return None
    if isinstance(place, int) and place >= FAR:
        return size
    at = as_expr(place)
    least, most = (0, None) if at.is_nonnegative else (None, -1) if at.is_negative else _range(at)
    if least is not None and least >= 0:
        return at
    return sympy.Max(0, size + at) if most is not None and most < 0 else None


def _range(place: sympy.Expr) -> tuple[sympy.Expr | None, sympy.Expr | None]:
    """Least and most of a sum of sizes, in texts of one new token and more within the context."""
    context, (past, seq) = CONTEXT.get(), (parse("past"), parse("seq"))
    if context is None or not place.free_symbols <= {past, seq} or not place.is_polynomial():
        return None, None
    if sympy.Poly(place, past, seq).total_degree() > 1:
        return None, None
    corners = ((0, 1), (0, context), (context - 1, 1))
    values = [place.subs({past: p, seq: s}) for p, s in corners]
    return min(values), max(values)


def _cut_elements(
    context: Context, x: ir.Value, output: ir.Value, cut: tuple[Dim | None, ...]
) -> None:
    """Known elements of a vector, where all of the cut is numbers."""
    start, end, _, step = cut
    known, numbers = context.get_symbolic_value(x), _numbers(start, end, step)
    if known is not None and numbers is not None:
        context.set_symbolic_value(output, known[numbers])


def _numbers(start: Dim | None, end: Dim | None, step: Dim | None) -> slice | None:
    """A cut that is all numbers, as Python writes it: both clamp in the same way."""
    known = isinstance(start, int) and isinstance(end, int) and isinstance(step, int)
    return slice(start, end, step) if known and step != 0 else None
