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
from toolkit.compiler.views.poly import Poly, below, poly, remainder
from toolkit.compiler.views.scalar import Index, Scalar, apply, index_of, number
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


def lower_gather(b: PhaseBuilder, node: ir.Node) -> None:
    """Elements along an axis that indices choose."""
    x, indices = needed(node, 0), needed(node, 1)
    axis, ranks = attribute(node, "axis", 0) % (rank(x) or 1), rank(indices) or 0

    def make(data: View, chosen: View) -> View:
        size = data.shape[axis]

        def read(at: At) -> Scalar:
            place = index_of(chosen.read(at[axis : axis + ranks]), size)
            return data.read([*at[:axis], place, *at[axis + ranks :]])

        shape = (*data.shape[:axis], *chosen.shape, *data.shape[axis + 1 :])
        return View(shape, data.dtype, read)

    give(b, node.outputs[0], [x, indices], make)


def lower_gather_elements(b: PhaseBuilder, node: ir.Node) -> None:
    """The index of an axis is looked up at the output's own coordinates."""
    x, indices = needed(node, 0), needed(node, 1)
    axis = attribute(node, "axis", 0) % (rank(x) or 1)

    def make(data: View, chosen: View) -> View:
        def read(at: At) -> Scalar:
            place = index_of(chosen.read(at), data.shape[axis])
            return data.read([*at[:axis], place, *at[axis + 1 :]])

        return View(chosen.shape, data.dtype, read)

    give(b, node.outputs[0], [x, indices], make)


def lower_gather_nd(b: PhaseBuilder, node: ir.Node) -> None:
    """The last axis of the indices holds places along the first axes of the data."""
    x, indices = needed(node, 0), needed(node, 1)
    batch = attribute(node, "batch_dims", 0)

    def make(data: View, chosen: View) -> View:
        *outer, depth = chosen.shape
        assert depth.number is not None
        count = depth.number

        def read(at: At) -> Scalar:
            places = [
                index_of(chosen.read([*at[: len(outer)], poly(k)]), data.shape[batch + k])
                for k in range(count)
            ]
            return data.read([*at[:batch], *places, *at[len(outer) :]])

        return View((*outer, *data.shape[batch + count :]), data.dtype, read)

    give(b, node.outputs[0], [x, indices], make)


def lower_pad(b: PhaseBuilder, node: ir.Node) -> None:
    """A constant around the data."""
    x, fill, y = needed(node, 0), operand(node, 2), node.outputs[0]
    pads, axes = _pads(b, node)
    outside = None if fill is None else view_of(b, fill)
    ranks = 0 if outside is None else len(outside.shape)  # some exporters write [1]

    def make(data: View) -> View:
        kind = {"float": 0.0, "int": 0, "bool": False}[data.kind]

        def read(at: At) -> Scalar:
            inside, own = number(True), list(at)
            for axis, before in zip(axes, pads, strict=False):
                own[axis] = at[axis] - before
                place, size = Index(own[axis]), Index(data.shape[axis])
                reached = apply("GreaterOrEqual", place, number(0))
                inside = apply("And", inside, apply("And", reached, apply("Less", place, size)))
            other = number(kind) if outside is None else outside.read([poly(0)] * ranks)
            return apply("Where", inside, data.read(own), other)

        return View(shape_of(b, y), data.dtype, read)

    give(b, y, [x], make)


def _pads(b: PhaseBuilder, node: ir.Node) -> tuple[list[Poly], list[int]]:
    """What is added before each axis, and the axes."""
    sizes, ranks = symbolic_value(operand(node, 1)) or [], rank(needed(node, 0)) or 0
    pads = [as_poly(b, size.xreplace(dict(b.at))) for size in sizes]
    given = operand(node, 3)
    axes = list(range(ranks)) if given is None else [a % ranks for a in integers(given) or []]
    return pads[: len(axes)], axes


def check_pad(node: ir.Node, _: str) -> str | None:
    """Only a constant is added around, and how much is known."""
    if attribute(node, "mode", "constant") != "constant":
        return "only constants can be added around"
    known = symbolic_value(operand(node, 1)) is not None
    return None if known else "how much is added depends on the data"


def lower_range(b: PhaseBuilder, node: ir.Node) -> None:
    """start + i * step."""
    y = node.outputs[0]

    def make(start: View, _: View, step: View) -> View:
        def read(at: At) -> Scalar:
            place = Index(at[0])
            counted = place if step.kind == "int" else apply("Float", place)
            return apply("Add", start.read([]), apply("Mul", counted, step.read([])))

        return View(shape_of(b, y), storage_of(b, y), read)

    give(b, y, [needed(node, i) for i in range(3)], make)


def lower_filled(b: PhaseBuilder, node: ir.Node) -> None:
    """ConstantOfShape: one number everywhere."""
    y, given = node.outputs[0], node.attributes.get("value")
    value = 0.0 if given is None else given.as_tensor().numpy().reshape(-1)[0]
    b.views[y] = View(shape_of(b, y), storage_of(b, y), lambda _: number(value))


def lower_one_hot(b: PhaseBuilder, node: ir.Node) -> None:
    """One of two values along a new axis: where that is at the index, and elsewhere.

    Negative indices count from the end; those beyond either end are nowhere.
    """
    y, depth = node.outputs[0], shape_of(b, node.outputs[0])
    axis = attribute(node, "axis", -1) % len(depth)

    def make(chosen: View, values: View) -> View:
        def read(at: At) -> Scalar:
            index = apply("Int", chosen.read([*at[:axis], *at[axis + 1 :]]))
            from_end = apply("Add", index, Index(depth[axis]))
            places = (apply("Equal", each, Index(at[axis])) for each in (index, from_end))
            here = apply("Or", *places)
            off, on = (values.read([poly(k)]) for k in range(2))
            return apply("Where", here, on, off)

        return View(depth, storage_of(b, y), read)

    give(b, y, [needed(node, 0), needed(node, 2)], make)


def lower_trilu(b: PhaseBuilder, node: ir.Node) -> None:
    """The upper or lower triangle of matrices; zero elsewhere."""
    x, k, upper = needed(node, 0), operand(node, 1), attribute(node, "upper", 1)
    shift = 0 if k is None else (integers(k) or [0])[0]

    def make(data: View) -> View:
        zero = number({"float": 0.0, "int": 0, "bool": False}[data.kind])

        def read(at: At) -> Scalar:
            row, column = Index(at[-2] + shift), Index(at[-1])
            kept = apply("GreaterOrEqual" if upper else "LessOrEqual", column, row)
            return apply("Where", kept, data.read(at), zero)

        return View(data.shape, data.dtype, read)

    give(b, node.outputs[0], [x], make)


def check_trilu(node: ir.Node, _: str) -> str | None:
    """Where the diagonal lies is known."""
    given = operand(node, 1)
    return None if given is None or integers(given) else "its diagonal is computed"


_ALL = (
    Lowering("", "Identity", lower_identity),
    *(Lowering("", name, lower_reshape) for name in ("Reshape", "Flatten", "Squeeze", "Unsqueeze")),
    Lowering("", "Transpose", lower_transpose),
    Lowering("", "Expand", lower_expand),
    Lowering("", "Tile", lower_tile),
    Lowering("", "Slice", lower_slice, check_slice),
    Lowering("", "Concat", lower_concat),
    Lowering("", "Split", lower_split),
    Lowering("", "GatherElements", lower_gather_elements),
    Lowering("", "GatherND", lower_gather_nd),
    Lowering("", "Pad", lower_pad, check_pad),
    Lowering("", "Range", lower_range),
    Lowering("", "ConstantOfShape", lower_filled),
    Lowering("", "OneHot", lower_one_hot),
    Lowering("", "Trilu", lower_trilu, check_trilu),
)
MOVEMENT = tuple(replace(each, joins=True) for each in _ALL)
