"""What waits until somebody reads its memory: products, softmaxes of activations, norms.

What reads them may take over the work: attention is a product that reads a softmax of a product,
and none of the two is ever stored. And a product with a constant matrix may end with what is
computed of its result: it then fills the memory of that, and none of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import onnx_ir as ir
import sympy

from onnx_passes.ir.graph import attribute, dim, needed
from toolkit.compiler.lowering.builder import Location, Memory, PendingNorm
from toolkit.compiler.views.scalar import Scalar
from toolkit.compiler.views.view import Shape, View
from toolkit.plan.schema import Ref


@dataclass(frozen=True)
class Product:
    """left [.., M, K] times right [.., K, N], as Views of equal outer axes."""

    left: View
    right: View
    value: ir.Value  # the result


@dataclass(frozen=True)
class TiledProduct(Product):
    """One that can end with what is computed of its result."""

    tiles: Callable[[Location, Scalar], None]  # fills memory with what becomes of each sum


@dataclass(frozen=True)
class Softmax:
    """Over the last axis of a View."""

    x: View


@dataclass(frozen=True)
class _Weighted:
    """x times what is constant."""

    node: ir.Node
    x: Memory

    @property
    def value(self) -> ir.Value:
        """The result, a value of the graph."""
        return self.node.outputs[0]

    @property
    def weight(self) -> ir.Value:
        """The matrix [K, N], or those of E experts side by side, [K, E * N]."""
        return needed(self.node, 1)


@dataclass(frozen=True)
class MatrixProduct(_Weighted):
    """x [M, K], or its norm, times a constant matrix, plus a bias: a MatMul or Linear."""

    norm: PendingNorm | None

    @property
    def width(self) -> int:
        """N."""
        return dim(self.weight, 1) or 0


@dataclass(frozen=True)
class ChosenProduct(_Weighted):
    """x times a matrix that is chosen for each row, plus its bias: an Experts."""

    indices: Location
    tokens: sympy.Expr
    choices: int  # of each token
    shared: bool  # all choices of a token read one row of x
    always: int = 0  # choices, the last, that are the last experts: indices has none of them

    @property
    def experts(self) -> int:
        """E."""
        return int(attribute(self.node, "experts"))

    @property
    def width(self) -> int:
        """N."""
        return (dim(self.weight, 1) or 0) // self.experts


@dataclass(frozen=True)
class Sum:
    """Over the last axis of a View, by a ReduceSum."""

    node: ir.Node
    x: View


@dataclass(frozen=True)
class RowNorm:
    """The norm of x that an RmsNorm gives, or an AddRmsNorm whose sum x is."""

    node: ir.Node
    x: Memory

    @property
    def pending(self) -> PendingNorm:
        """As products that begin with it compute it."""
        return PendingNorm(self.x, self.gamma, self.eps)

    @property
    def value(self) -> ir.Value:
        """The result, a value of the graph."""
        return self.node.outputs[-1]

    @property
    def gamma(self) -> ir.Value:
        """The scale [D]."""
        return needed(self.node, len(self.node.inputs) - 1)

    @property
    def eps(self) -> float:
        """What is added to the mean of squares."""
        return float(attribute(self.node, "eps"))


@dataclass(frozen=True)
class NormedSum:
    """A residual stream plus a norm: a product of few rows that reads it may begin with it."""

    value: ir.Value
    norm: RowNorm
    stream: Location


@dataclass(frozen=True)
class PartialSums:
    """What kernels over records have made of a network, with the bias of its last product."""

    value: ir.Value  # the result
    part: Ref  # f32 [count, M, D]
    count: int
    bias: Ref | None


_number = count()


@dataclass(eq=False)
class Deferred:
    """Memory [shape], row by row, that `fill` computes when it is read for the first time."""

    dtype: str
    shape: Shape
    of: Product | Softmax | MatrixProduct | ChosenProduct | Sum | RowNorm | NormedSum | PartialSums
    fill: Callable[[], Location]
    order: int = field(default_factory=_number.__next__)  # later ones have more

    @cached_property
    def ref(self) -> Ref:
        """Where it lies: from here on it is computed."""
        return self.fill().ref

    @property
    def waits(self) -> bool:
        """Whether nobody has read it."""
        return "ref" not in vars(self)

    def filled(self, location: Location) -> None:
        """Say where it lies, since another dispatch fills it."""
        vars(self)["ref"] = location.ref
