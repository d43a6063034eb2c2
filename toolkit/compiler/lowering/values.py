"""Values while a phase is lowered: as Views, and in memory where somebody must read them there."""

from collections.abc import Callable, Sequence
from functools import partial

import onnx_ir as ir
import sympy

from onnx_passes.ir.dims import symbolic_value
from onnx_passes.ir.graph import is_constant
from opencl_kernels.map.expression import KIND_OF
from opencl_kernels.map.indexed import MAX_INPUTS
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.dispatches import emit_map
from toolkit.compiler.lowering.products.activations import multiplied
from toolkit.compiler.lowering.products.epilogues import ended
from toolkit.compiler.lowering.products.mixtures import mixed
from toolkit.compiler.lowering.products.row_norms import summed
from toolkit.compiler.lowering.records.sums import added
from toolkit.compiler.views.poly import Poly, poly
from toolkit.compiler.views.scalar import Index, Load, Scalar, number
from toolkit.compiler.views.simplify import apply
from toolkit.compiler.views.view import (
    At,
    Shape,
    View,
    axes_of,
    in_memory,
    linear,
    poly_of,
    size_of,
)
from toolkit.compiler.views.walks import sources
from toolkit.plan.expr import symbol

MOST_FUNCTIONS = 48  # that an element of a View computes; beyond, an operand is stored
CHEAP = 12  # functions of counters alone, which masks are
REJOINS = 24  # nodes among which several readers of a value may meet again
TYPES = {
    **{ir.DataType.INT64: "i64", ir.DataType.INT32: "i32", ir.DataType.BOOL: "u8"},
    **{ir.DataType.FLOAT: "", ir.DataType.FLOAT16: "", ir.DataType.BFLOAT16: ""},
}


def kind_of(value: ir.Value) -> str:
    """Of the value's elements: float, int or bool."""
    return KIND_OF[_type_of(value) or "f32"]


def storage_of(b: PhaseBuilder, value: ir.Value) -> str:
    """The type that a value is stored in: floats as the settings say."""
    return _type_of(value) or b.float_type(value)


def _type_of(value: ir.Value) -> str:
    """The type of the value's elements; "" of floats."""
    assert value.dtype is not None, f"{value.name} has no type"
    return TYPES[value.dtype]


def shape_of(b: PhaseBuilder, value: ir.Value) -> Shape:
    """The value's shape in this phase."""
    return tuple(as_poly(b, size) for size in b.dims(value))


def as_poly(b: PhaseBuilder, size: sympy.Expr) -> Poly:
    """A size over the symbols of this phase."""
    return poly_of(size, b.box)


def symbol_of(b: PhaseBuilder, name: str) -> Poly:
    """A symbol in this phase: a number where it is fixed."""
    return as_poly(b, symbol(name).xreplace(dict(b.at)))


def view_of(b: PhaseBuilder, value: ir.Value) -> View:
    """The value as a View: what was joined so far, what lies in memory, or a constant."""
    if value in b.views:
        return b.views[value]
    if is_constant(value) and value not in b.locations:
        b.views[value] = _constant(b, value)
        return b.views[value]
    return _located(b, b.location(value), shape_of(b, value))


def _located(b: PhaseBuilder, location: Location, shape: Shape) -> View:
    if not location.last_rows:
        return in_memory(location, shape)
    seq, rows = symbol_of(b, "seq"), symbol_of(b, "rows")
    whole = in_memory(Location(location.ref, location.dtype), (shape[0], seq, *shape[2:]))
    return View(shape, location.dtype, lambda at: whole.read([at[0], at[1] + seq - rows, *at[2:]]))


def _constant(b: PhaseBuilder, value: ir.Value) -> View:
    """A single number stands in the text; more lie in memory."""
    if value.const_value is None:  # the output of a Constant node
        value.const_value = ir.convenience.get_const_tensor(value)
    assert value.const_value is not None
    if value.const_value.size == 1:
        only = number(value.const_value.numpy().reshape(())[()])
        return View(shape_of(b, value), storage_of(b, value), lambda _: only)
    ref = b.weights.vector(value, infinite=True)
    return in_memory(Location(ref, b.weights.sources[int(ref[-1])].dtype), shape_of(b, value))


def give_sizes(b: PhaseBuilder, node: ir.Node) -> bool:
    """Give a node's outputs the sizes that are known to be in them; whether they are."""
    known = [symbolic_value(output) for output in node.outputs]
    if any(sizes is None for sizes in known):
        return False
    for output, sizes in zip(node.outputs, known, strict=True):
        numbers = [Index(as_poly(b, size.xreplace(dict(b.at)))) for size in sizes or ()]
        b.views[output] = View(shape_of(b, output), "i64", partial(_chosen, numbers))
    return True


def _chosen(elements: Sequence[Scalar], at: At) -> Scalar:
    """The element at a coordinate, of few."""
    *others, found = elements or [number(0)]
    for i in reversed(range(len(others))):
        here = apply("Equal", Index(at[0]), Index(poly(i)))
        found = apply("Where", here, others[i], found)
    return found


def operand_of(b: PhaseBuilder, value: ir.Value) -> View:
    """The View that a reader joins; stored first if others would compute it again."""
    if value in b.views and _is_shared(b, value) and _is_dear(b.views[value]):
        stored(b, value)
    return view_of(b, value)


def reread(b: PhaseBuilder, value: ir.Value, most: int = 0) -> View:
    """The View for a reader that reads elements more than once; stored first if they cost.

    most  functions that a launch costs more than
    """
    view = operand_of(b, value)
    if value in b.views and view.read(axes_of(view.shape)).cost > most:
        stored(b, value)
    return view_of(b, value)


def _is_dear(view: View) -> bool:
    """Whether it costs more to compute again than to keep: what counters alone make is cheap."""
    element = view.read(axes_of(view.shape))
    return element.cost > (0 if any(sources(element)) else CHEAP)


def _is_shared(b: PhaseBuilder, value: ir.Value) -> bool:
    """Whether several nodes read the value that don't meet again soon in one."""
    front = {use.node for use in value.uses()}
    if value.is_graph_output():
        return True
    for _ in range(REJOINS):
        if len(front) < 2:
            return False
        node = _first(front)
        front.remove(node)
        ends = any(output.is_graph_output() for output in node.outputs)
        if ends or (node.domain, node.op_type) not in b.joining:
            return True
        front |= {use.node for output in node.outputs for use in output.uses()}
    return True


def _first(nodes: set[ir.Node]) -> ir.Node:
    """The earliest in the graph."""
    graph = next(iter(nodes)).graph
    assert graph is not None
    order: dict[ir.Node, int] = graph.meta.get("pocket_order") or {}
    if not all(node in order for node in nodes):
        order = {node: i for i, node in enumerate(graph)}
        graph.meta["pocket_order"] = order
    return min(nodes, key=order.__getitem__)


def give(
    b: PhaseBuilder, y: ir.Value, operands: Sequence[ir.Value], make: Callable[..., View]
) -> None:
    """y = make(Views of the operands); operands are stored where the kernel would be too large."""
    views = [operand_of(b, value) for value in operands]
    view = make(*views)
    while not _fits(view):
        costs = {i: _weight(v) for i, v in enumerate(views) if operands[i] in b.views}
        most = max(costs, key=costs.__getitem__, default=None)
        if most is None or costs[most] <= 0:
            break
        stored(b, operands[most])
        views = [view_of(b, value) for value in operands]
        view = make(*views)
    b.views[y] = view


def _fits(view: View) -> bool:
    element = view.read(axes_of(view.shape))
    return len(set(sources(element))) <= MAX_INPUTS and element.cost <= MOST_FUNCTIONS


def _weight(view: View) -> int:
    """What storing a View takes off its reader."""
    element = view.read(axes_of(view.shape))
    return int(element.cost) + len(set(sources(element))) - 1


def stored(b: PhaseBuilder, value: ir.Value, last_rows: bool = False) -> Location:
    """The memory of a value, row by row, which a product or a `map` fills if nothing else did.

    last_rows  the reader takes the last rows of memory that holds all of them
    """
    if value in b.locations and (last_rows or not b.locations[value].last_rows):
        return b.locations[value]
    view = view_of(b, value)
    location = None if value.is_graph_output() else in_place(view)
    location = location or taken_over(b, value, view)
    if location is None:
        location = b.output(value, dtype=view.dtype)
        emit_map(b, value.name or "map", location, view)
    b.views.pop(value, None)
    b.locations[value] = location
    return location


def settle(b: PhaseBuilder, value: ir.Value) -> None:
    """Give a value its memory where that costs no dispatch of its own."""
    view = b.views.get(value)
    location = None if view is None else in_place(view) or taken_over(b, value, view)
    if location is not None:
        del b.views[value]
        b.locations[value] = location


def taken_over(b: PhaseBuilder, value: ir.Value, view: View) -> Location | None:
    """The memory of a value that what waits for it fills at its end; None if nothing does."""
    ways = (mixed, ended, summed, added, multiplied)
    return next((found for way in ways if (found := way(b, value, view)) is not None), None)


def in_type(b: PhaseBuilder, value: ir.Value, dtype: str) -> Location:
    """The memory of a value of floats in a type."""
    location = stored(b, value)
    if location.dtype == dtype:
        return location
    view = view_of(b, value)
    into = Location(b.temporary(value.name or "map", dtype, b.dims(value)), dtype)
    emit_map(b, value.name or "map", into, view)
    return into


def in_place(view: View) -> Location | None:
    """The memory that holds a View row by row as it is, if any does."""
    axes = axes_of(view.shape)
    element = view.read(axes)
    if isinstance(element, Load) and element.at == linear(axes, view.shape):
        return Location(element.source.ref, element.source.dtype)
    return None


def kept(b: PhaseBuilder, name: str, view: View) -> Location:
    """Memory that holds a View which is no value of the graph."""
    location = in_place(view)
    if location is None:
        ref = b.temporary(name, view.dtype, [size_of(size) for size in view.shape])
        location = Location(ref, view.dtype)
        emit_map(b, name, location, view)
    return location


def deliver(b: PhaseBuilder, value: ir.Value) -> None:
    """Let an output of the graph lie where it must, wherever it lies already."""
    location = stored(b, value)
    wanted = b.results.get(value, location)
    if location != wanted:
        view = _located(b, location, shape_of(b, value))
        b.locations[value] = wanted
        emit_map(b, value.name or "map", wanted, view)
