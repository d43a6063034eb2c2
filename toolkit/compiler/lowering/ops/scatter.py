"""Updates by index: elements that join others where indices say; one-hot vectors."""

from collections.abc import Callable
from functools import partial

import onnx_ir as ir

from onnx_passes.ir.graph import attribute, needed
from opencl_kernels.map.indexed import MAX_INPUTS
from toolkit.compiler.lowering.builder import PhaseBuilder, label
from toolkit.compiler.lowering.dispatches import emit_map
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.ops.scan import axis_last, axis_of, check_numbers
from toolkit.compiler.lowering.ordered import emit_scatter
from toolkit.compiler.lowering.values import (
    give,
    operand_of,
    reread,
    shape_of,
    storage_of,
    stored,
    view_of,
)
from toolkit.compiler.views.poly import Poly, poly
from toolkit.compiler.views.scalar import Index, Scalar, number
from toolkit.compiler.views.simplify import apply, index_of
from toolkit.compiler.views.view import At, View, axes_of, linear, transposed
from toolkit.compiler.views.walks import sources

FEW = 8  # updates along an axis that are rather compared with every element
JOINED = {"none": "latest", "add": "sum", "mul": "product", "max": "max", "min": "min"}


def lower_scatter_elements(b: PhaseBuilder, node: ir.Node) -> None:
    """The index of an axis is looked up at the update's own coordinates."""
    if _has_few_updates(b, node):
        give(b, node.outputs[0], [needed(node, i) for i in range(3)], partial(_few, node))
        return
    data, axis = shape_of(b, needed(node, 0)), axis_of(node, 0)
    order = axis_last(axis, len(data))

    def into(indices: View, at: At) -> list[Poly]:
        own = [at[order.index(k)] for k in range(len(order))]
        place = index_of(indices.read(own), data[axis])
        return [*own[:axis], place, *own[axis + 1 :]]

    _scatter(b, node, order, 1, into)


def _has_few_updates(b: PhaseBuilder, node: ir.Node) -> bool:
    """Whether every element can ask the few updates along its axis whether they mean it."""
    data, updates = (list(shape_of(b, needed(node, i))) for i in (0, 2))
    axis = axis_of(node, 0)
    count = updates.pop(axis).number
    data.pop(axis)
    plain = attribute(node, "reduction", "none") == "none"
    return plain and count is not None and 0 < count <= FEW and data == updates


def _few(node: ir.Node, data: View, indices: View, updates: View) -> View:
    """An element is the last update whose index it is, or else the data's."""
    axis = axis_of(node, 0)

    def read(at: At) -> Scalar:
        found = data.read(at)
        for j in range(updates.shape[axis].number or 0):
            own = [*at[:axis], poly(j), *at[axis + 1 :]]
            place = Index(index_of(indices.read(own), data.shape[axis]))
            found = apply("Where", apply("Equal", place, Index(at[axis])), updates.read(own), found)
        return found

    return View(data.shape, data.dtype, read)


def lower_scatter_nd(b: PhaseBuilder, node: ir.Node) -> None:
    """The last axis of the indices holds places along the first axes of the data."""
    data = shape_of(b, needed(node, 0))
    *outer, depth = shape_of(b, needed(node, 1))
    assert depth.number is not None
    count, listed = depth.number, len(outer)
    order = [*range(listed, listed + len(data) - count), *range(listed)]

    def into(indices: View, at: At) -> list[Poly]:
        inside, entry = at[: len(data) - count], at[len(data) - count :]
        read = (indices.read([*entry, poly(k)]) for k in range(count))
        places = [index_of(index, size) for index, size in zip(read, data, strict=False)]
        return [*places, *inside]

    _scatter(b, node, order, listed, into)


def _scatter(
    b: PhaseBuilder,
    node: ir.Node,
    order: list[int],
    serial: int,
    into: Callable[[View, At], list[Poly]],
) -> None:
    """The data is copied, then every update joins it.

    order   of the axes of the updates; the last `serial` ones are taken in order
    into    coordinates of the data, from indices and coordinates of the updates
    """
    data, chosen, given = (needed(node, i) for i in range(3))
    y, before = node.outputs[0], operand_of(b, data)
    indices, updates = reread(b, chosen), operand_of(b, given)
    if _loads(indices) + _loads(updates) > MAX_INPUTS:
        stored(b, chosen), stored(b, given)
        indices, updates = view_of(b, chosen), view_of(b, given)
    location = b.output(y, dtype=storage_of(b, y))
    emit_map(b, f"{label(node)}.data", location, before)
    emit_scatter(
        b,
        label(node),
        location,
        transposed(updates, order),
        lambda at: linear(into(indices, at), before.shape),
        serial,
        JOINED[attribute(node, "reduction", "none")],
    )


def _loads(view: View) -> int:
    return len(set(sources(view.read(axes_of(view.shape)))))


def check_scatter(node: ir.Node, tokens: str) -> str | None:
    """Known elements; what joins them must be a number."""
    how = attribute(node, "reduction", "none")
    if how not in JOINED:
        return f"it joins by {how!r}"
    return None if how == "none" else check_numbers(node, tokens)


def check_scatter_nd(node: ir.Node, tokens: str) -> str | None:
    """Besides: indices of so many axes as are known."""
    indices = needed(node, 1)
    if indices.shape is None or not isinstance(indices.shape[-1], int):
        return "how many axes its indices choose from is computed"
    return check_scatter(node, tokens)


def lower_one_hot(b: PhaseBuilder, node: ir.Node) -> None:
    """One of two values: whether an index is the coordinate along a new axis."""
    y, shape = node.outputs[0], shape_of(b, node.outputs[0])
    axis = int(attribute(node, "axis", -1)) % len(shape)

    def make(indices: View, values: View) -> View:
        def read(at: At) -> Scalar:
            index = apply("Int", indices.read([*at[:axis], *at[axis + 1 :]]))
            from_end = apply("Add", index, Index(shape[axis]))
            place = apply("Where", apply("Less", index, number(0)), from_end, index)
            chosen = apply("Equal", place, Index(at[axis]))
            return apply("Where", chosen, values.read([poly(1)]), values.read([poly(0)]))

        return View(shape, values.dtype, read)

    give(b, y, [needed(node, 0), needed(node, 2)], make)


SCATTER = (
    Lowering("", "ScatterElements", lower_scatter_elements, check_scatter),
    Lowering("", "Scatter", lower_scatter_elements, check_scatter),
    Lowering("", "ScatterND", lower_scatter_nd, check_scatter_nd),
    Lowering("", "OneHot", lower_one_hot, joins=True),
)
