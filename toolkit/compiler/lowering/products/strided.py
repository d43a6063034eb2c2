"""Views that are memory read by strides: matrices of activations, and runs of columns."""

from __future__ import annotations

from dataclasses import dataclass

from opencl_kernels.map.functions import FLOAT
from opencl_kernels.matmul.batched import Strided
from toolkit.compiler.lowering.builder import Memory
from toolkit.compiler.lowering.dispatches import Reading
from toolkit.compiler.views.poly import Poly, Symbol, poly, product
from toolkit.compiler.views.scalar import Load, Scalar
from toolkit.compiler.views.view import Shape, View, axes_of, reshaped
from toolkit.plan.schema import Ref


@dataclass(frozen=True)
class Matrices:
    """A View [.., rows, columns] that is memory read by strides."""

    shape: Shape
    load: Load  # the first element of a matrix, over coordinates of the batch
    row: Poly
    column: Poly

    def strided(self, found: Reading) -> Strided:
        """As a case says it."""
        names = found.names.__getitem__
        first, row, column = (p.text(names) for p in (self.load.at, self.row, self.column))
        return Strided(int(names(self.load.source)[1:]), first, row, column)


def matrices_of(view: View) -> Matrices | None:
    """How the matrices of a View lie in memory; None where no strides lead to their elements."""
    *batch, row, column = axes_of(view.shape, ones=True)
    element, first = view.read([*batch, row, column]), view.read([*batch, poly(0), poly(0)])
    below, beside = view.read([*batch, poly(1), poly(0)]), view.read([*batch, poly(0), poly(1)])
    if not isinstance(element, Load) or not isinstance(first, Load):
        return None
    by_row, by_column = _stride(first, below, row), _stride(first, beside, column)
    if by_row is None or by_column is None:
        return None
    strides_lead = element.at == first.at + row * by_row + column * by_column
    same = element.source == first.source
    return Matrices(view.shape, first, by_row, by_column) if same and strides_lead else None


def _stride(first: Load, following: Scalar, axis: Poly) -> Poly | None:
    """From an element to the next one along an axis; None where it is not the same everywhere."""
    if not axis.terms:  # there is no other
        return poly(0)
    if not isinstance(following, Load) or following.source != first.source:
        return None
    stride = following.at - first.at
    return stride if all(isinstance(factor, Symbol) for factor in stride.factors()) else None


@dataclass(frozen=True)
class RowPart:
    """Columns from `first` on of rows that begin `stride` elements apart; 0: there is one row."""

    memory: Memory
    first: int
    stride: int

    @property
    def ref(self) -> Ref:
        """Where the rows lie."""
        return self.memory.ref

    @property
    def dtype(self) -> str:
        """The type of their elements."""
        return self.memory.dtype


def row_part(view: View) -> RowPart | None:
    """The columns that are a View's rows; None where these lie otherwise, or are whole rows."""
    rows, width = product(view.shape[:-1]), view.shape[-1]
    try:
        found = matrices_of(reshaped(view, (rows, width)))
    except ValueError:  # its axes are no runs of rows and columns
        return None
    if found is None or view.kind != FLOAT or found.column.number != 1:
        return None
    first, stride = found.load.at.number, found.row.number
    if first is None or stride is None or (first == 0 and stride in (0, width.number)):
        return None
    return RowPart(found.load.source, first, stride)
