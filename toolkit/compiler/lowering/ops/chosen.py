"""Elements that indices choose; one of two values where an index is."""

from dataclasses import replace

import onnx_ir as ir

from onnx_passes.ir.graph import attribute, needed, rank
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.values import give, shape_of, storage_of
from toolkit.compiler.views.poly import poly
from toolkit.compiler.views.scalar import Index, Scalar
from toolkit.compiler.views.simplify import apply, index_of
from toolkit.compiler.views.view import At, View


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


_ALL = (
    Lowering("", "GatherElements", lower_gather_elements),
    Lowering("", "GatherND", lower_gather_nd),
    Lowering("", "OneHot", lower_one_hot),
)
CHOSEN = tuple(replace(each, joins=True) for each in _ALL)
