"""Epilogues: a product with constant matrices ends with what is computed of its result.

Where a value is a function of a product that waits, at the same rows and columns, and of other
memory, the product fills the memory of that value. Two products of the same x are gate and up of
one: their matrices are interleaved. What nobody takes over, a product fills by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnx_passes.ir.graph import operand
from opencl_kernels.map.functions import FLOAT
from opencl_kernels.map.indexed import MAX_INPUTS
from opencl_kernels.matmul.epilogue import SUM, UP
from opencl_kernels.matmul.glu import Glu
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.deferred import ChosenProduct, Deferred, MatrixProduct
from toolkit.compiler.lowering.dispatches import Reading
from toolkit.compiler.lowering.products.chosen_products import emit_chosen
from toolkit.compiler.lowering.products.matrix_products import (
    Ending,
    emit_gated,
    emit_product,
)
from toolkit.compiler.views.division import floordiv
from toolkit.compiler.views.poly import Poly, poly, product
from toolkit.compiler.views.scalar import Apply, Load, Local, Scalar
from toolkit.compiler.views.simplify import apply, index_of
from toolkit.compiler.views.view import View, axes_of, linear, reshaped
from toolkit.compiler.views.walks import loads, replaced, sources

MOST_STEPS = 48  # nodes between a product and the value that it may end with
PRODUCTS = (MatrixProduct, ChosenProduct)
V, U = Local(SUM), Local(UP)
UNITS = {  # that kernels know by name
    "silu": apply("Mul", apply("Mul", V, apply("Sigmoid", V)), U),
    "relu": apply("Mul", apply("Relu", V), U),
}


@dataclass(frozen=True)
class Matrix:
    """A value as a matrix [M, N], by its element at a row and a column."""

    element: Scalar
    row: Poly
    column: Poly
    shape: tuple[Poly, Poly]

    @property
    def columns(self) -> int:
        """N."""
        return self.shape[1].number or 0


@dataclass(frozen=True)
class Part:
    """As many columns of a product that waits as the value has, from `first` on."""

    memory: Deferred
    product: MatrixProduct | ChosenProduct
    first: int
    load: Load


def ended(b: PhaseBuilder, value: ir.Value, view: View) -> Location | None:
    """The memory of a value that a waiting product fills at its end; None if there is none."""
    matrix = _matrix(view)
    for parts in [] if matrix is None else _choices(b, matrix):
        if not all(leads_only_to(b, part.product.value, value) for part in parts):
            continue
        assert matrix is not None
        ending = _ending(b, matrix, parts)
        into = b.output(value, dtype=view.dtype)
        _emit(b, parts, into, ending)
        return into
    return None


def _emit(b: PhaseBuilder, parts: Sequence[Part], into: Location, ending: Ending) -> None:
    product = parts[0].product
    if isinstance(product, ChosenProduct):
        emit_chosen(b, product, into, ending)
    elif ending.glu is None:
        emit_product(b, product, into, ending)
    else:
        halves = [(part.product.weight, part.first) for part in parts]
        emit_gated(b, product, halves, into, ending)


def _matrix(view: View) -> Matrix | None:
    """A value over the rows of the last product that it waits for."""
    element = view.read(axes_of(view.shape))
    waiting = list(_waiting(element))
    if not waiting or view.kind != FLOAT or len(set(sources(element))) > MAX_INPUTS:
        return None
    rows = product(max(waiting, key=lambda each: each.order).shape[:-1])
    columns = floordiv(product(view.shape), rows)
    if columns.number is None or columns * rows != product(view.shape):
        return None
    try:
        flat = reshaped(view, (rows, columns))
    except ValueError:  # its axes are no runs of rows and columns
        return None
    row, column = axes_of(flat.shape, ones=True)
    return Matrix(flat.read([row, column]), row, column, (rows, columns))


def _waiting(element: Scalar) -> Iterator[Deferred]:
    for source in sources(element):
        if isinstance(source, Deferred) and source.waits and isinstance(source.of, PRODUCTS):
            yield source


def _choices(b: PhaseBuilder, matrix: Matrix) -> Iterator[list[Part]]:
    """The products that may end with the value: two as gate and up, else the last one."""
    parts = _parts(matrix)
    if not parts:
        return
    last = parts[-1]
    alike = [part for part in parts if _are_alike(b, part.product, last.product)]
    if len(alike) == 2 and _interleave(matrix, alike):
        yield alike
    whole = last.product.width == matrix.columns
    if whole and sum(part.memory is last.memory for part in parts) == 1:
        yield [last]


def _parts(matrix: Matrix) -> list[Part]:
    """The products of which it reads nothing but sums of its own row, in the graph's order."""
    found = list[Part]()
    for memory in set(_waiting(matrix.element)):
        assert isinstance(memory.of, PRODUCTS)
        width = memory.of.width
        own = {load for load in loads(matrix.element) if load.source is memory}
        parts = list[Part]()
        for load in own:
            first = (load.at - (matrix.row * width + matrix.column)).number
            if first is not None and 0 <= first <= width - matrix.columns:
                parts.append(Part(memory, memory.of, first, load))
        found += parts if len(parts) == len(own) else []
    return sorted(found, key=lambda part: (part.memory.order, part.first))


def _are_alike(
    b: PhaseBuilder, one: MatrixProduct | ChosenProduct, other: MatrixProduct | ChosenProduct
) -> bool:
    """Whether two products have the same x, and matrices that are stored alike."""
    if isinstance(one, ChosenProduct) or isinstance(other, ChosenProduct):
        return one is other
    same = one.x == other.x and one.norm == other.norm
    return same and b.weights.stored(one.weight) == b.weights.stored(other.weight)


def _interleave(matrix: Matrix, parts: Sequence[Part]) -> bool:
    """Whether two parts can be gate and up of one product: of experts these are the two halves."""
    product = parts[0].product
    whole = [part.first for part in parts] == [0, matrix.columns]
    return isinstance(product, MatrixProduct) or (whole and product.width == 2 * matrix.columns)


def leads_only_to(b: PhaseBuilder, start: ir.Value, value: ir.Value) -> bool:
    """Whether nobody needs `start` but for `value`, which is computed of it."""
    if start is value:
        return True
    front, seen = [start], {value.producer()}
    while front:
        each = front.pop()
        if each.is_graph_output() or len(seen) > MOST_STEPS:
            return False
        for node in {use.node for use in each.uses()} - seen:
            if (node.domain, node.op_type) not in b.joining:
                return False
            seen.add(node)
            front += node.outputs
    return True


def _ending(b: PhaseBuilder, matrix: Matrix, parts: Sequence[Part]) -> Ending:
    """What the product does with its sums: by a flag that kernels have, or as an expression."""
    gated = len(parts) == 2
    element = matrix.element
    for part, own in zip(parts, (V, U), strict=False):
        total: Scalar = own
        bias = _bias(b, part, matrix) if gated else None
        if bias is not None:  # an interleaved matrix has no place for it
            total = apply("Add", own, bias)
        element = replaced(element, part.load, total)
    if not gated:
        return _of_one(b, matrix, parts[0].product, element)
    for name, unit in UNITS.items():
        if element == unit:
            return Ending(glu=Glu(matrix.columns, name))
    return _expression(b, element, Glu(matrix.columns))


def _bias(b: PhaseBuilder, part: Part, matrix: Matrix) -> Load | None:
    """The bias of a part's columns, in the row of the expert if there are several."""
    product = part.product
    bias = operand(product.node, 3 if isinstance(product, ChosenProduct) else 2)
    if bias is None:
        return None
    place = matrix.column + part.first
    if isinstance(product, ChosenProduct):
        expert = index_of(Load(product.indices, matrix.row), poly(product.experts))
        place = expert * product.width + place
    return Load(Location(b.weights.vector(bias), "f32"), place)


def _of_one(
    b: PhaseBuilder, matrix: Matrix, product: MatrixProduct | ChosenProduct, element: Scalar
) -> Ending:
    if element == V:
        return Ending()
    if isinstance(product, ChosenProduct):
        return _expression(b, element)
    summands = element.operands if isinstance(element, Apply) and element.op == "Add" else ()
    rest = next((each for each in summands if each != V), None)
    place = linear([matrix.row, matrix.column], matrix.shape)
    same_place = isinstance(rest, Load) and rest.at == place and V in summands
    if isinstance(rest, Load) and same_place and rest.source.dtype == product.x.dtype:
        return Ending(residual=True, refs={"r": rest.source.ref})
    return _expression(b, element)


def _expression(b: PhaseBuilder, element: Scalar, glu: Glu | None = None) -> Ending:
    found = Reading(b, [element])
    return Ending(found.text(element), found.operands, glu=glu, refs=found.refs)
