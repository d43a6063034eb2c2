"""Movement: every op is a substitution of coordinates."""

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir
import sympy

from onnx_passes.ir.dims import symbolic_value
from onnx_passes.ir.graph import attribute, integers, needed, operand, rank
from opencl_kernels.map.indexed import MAX_INPUTS
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.dispatches import emit_map
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.values import as_poly, give, shape_of, storage_of, view_of
from toolkit.compiler.views.division import remainder
from toolkit.compiler.views.poly import Poly, below, poly
from toolkit.compiler.views.scalar import Scalar
from toolkit.compiler.views.view import (
    At,
    View,
    concatenated,
    expanded,
    linear,
    reshaped,
    shifted,
    transposed,
)


def lower_reshape(b: PhaseBuilder, node: ir.Node) -> None:
    """The same elements, in order, in another shape; what lies in memory needs no View."""
    x, y = needed(node, 0), node.outputs[0]
    if x in b.locations and not b.locations[x].last_rows:
        b.locations[y] = b.locations[x]
    else:
        give(b, y, [x], lambda view: reshaped(view, shape_of(b, y)))


def lower_identity(b: PhaseBuilder, node: ir.Node) -> None:
    """The same value."""
    lower_reshape(b, node)


def lower_transpose(b: PhaseBuilder, node: ir.Node) -> None:
    """Axes in another order."""
    x = needed(node, 0)
    perm = attribute(node, "perm", list(range(rank(x) or 0))[::-1])
    give(b, node.outputs[0], [x], lambda view: transposed(view, perm))


def lower_expand(b: PhaseBuilder, node: ir.Node) -> None:
    """Axes of size 1 repeat."""
    y = node.outputs[0]
    give(b, y, [needed(node, 0)], lambda view: expanded(view, shape_of(b, y)))


def lower_tile(b: PhaseBuilder, node: ir.Node) -> None:
    """Every axis repeats as a whole."""
    y = node.outputs[0]

    def make(x: View) -> View:
        def read(at: At) -> Scalar:
            return x.read([remainder(p, size) for p, size in zip(at, x.shape, strict=True)])

        return View(shape_of(b, y), x.dtype, read)

    give(b, y, [needed(node, 0)], make)


def _bounds(node: ir.Node) -> list[tuple[int, sympy.Expr, int]]:
    """(axis, start, step) of a Slice; an axis that counts from the end is negative still."""
    starts = symbolic_value(operand(node, 1)) or []
    axes = integers(operand(node, 3)) if operand(node, 3) is not None else [*range(len(starts))]
    steps = integers(operand(node, 4)) if operand(node, 4) is not None else [1] * len(starts)
    return list(zip(axes or [], starts, steps or [], strict=True))


def lower_slice(b: PhaseBuilder, node: ir.Node) -> None:
    """A range of each axis."""
    y = node.outputs[0]

    def make(x: View) -> View:
        for axis, start, step in _bounds(node):
            axis %= len(x.shape)
            x = shifted(x, axis, shape_of(b, y)[axis], _first(b, start, x.shape[axis], step), step)
        return x

    give(b, y, [needed(node, 0)], make)


def _first(b: PhaseBuilder, start: sympy.Expr, size: Poly, step: int) -> Poly:
    """Where a slice begins: negative starts count from the end; none is beyond either end."""
    place = as_poly(b, start.xreplace(dict(b.at)))
    if below(place, poly(0)):
        place = place + size
    last = size - 1 if step < 0 else size
    return last if below(last, place) else poly(0) if below(place, poly(0)) else place


def check_slice(node: ir.Node, _: str) -> str | None:
    """Where it begins must not depend on the data, and be on one side of zero."""
    starts = symbolic_value(operand(node, 1))
    fixed = all(operand(node, i) is None or integers(operand(node, i)) for i in (3, 4))
    if starts is None or not fixed:
        return "where it begins depends on the data"
    sides = (start.is_nonnegative or start.is_nonpositive for start in starts)
    return None if all(sides) else "it begins before or after the start, as sizes are"


def lower_concat(b: PhaseBuilder, node: ir.Node) -> None:
    """Parts one after the other."""
    y = node.outputs[0]
    axis = attribute(node, "axis") % (rank(y) or 1)
    parts = [value for value in node.inputs if value is not None]
    if len(parts) > MAX_INPUTS:
        _write_parts(b, y, parts, axis)
    else:
        give(b, y, parts, lambda *views: concatenated(views, axis))


def _write_parts(b: PhaseBuilder, y: ir.Value, parts: Sequence[ir.Value], axis: int) -> None:
    """More parts than a kernel has inputs go to their places one by one."""
    shape, first = shape_of(b, y), poly(0)
    into = b.output(y, dtype=storage_of(b, y))
    for part in parts:
        view = view_of(b, part)

        def place(at: At, first: Poly = first) -> Poly:
            return linear([*at[:axis], at[axis] + first, *at[axis + 1 :]], shape)

        emit_map(b, y.name or "concat", into, view, place)
        first = first + view.shape[axis]


def lower_split(b: PhaseBuilder, node: ir.Node) -> None:
    """Each output is a range of an axis."""
    x = needed(node, 0)
    axis, first = attribute(node, "axis", 0) % (rank(x) or 1), poly(0)
    for y in node.outputs:
        size = shape_of(b, y)[axis]
        begin = first
        give(b, y, [x], lambda view, size=size, begin=begin: shifted(view, axis, size, begin))
        first = first + size


_ALL = (
    Lowering("", "Identity", lower_identity),
    *(Lowering("", name, lower_reshape) for name in ("Reshape", "Flatten", "Squeeze", "Unsqueeze")),
    Lowering("", "Transpose", lower_transpose),
    Lowering("", "Expand", lower_expand),
    Lowering("", "Tile", lower_tile),
    Lowering("", "Slice", lower_slice, check_slice),
    Lowering("", "Concat", lower_concat),
    Lowering("", "Split", lower_split),
)
MOVEMENT = tuple(replace(each, joins=True) for each in _ALL)
