"""Products and softmaxes of activations wait until somebody reads their memory.

What reads them may take over the work: attention is a product that reads a softmax of a product,
and none of the two is ever stored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from toolkit.compiler.lowering.builder import Location
from toolkit.compiler.views.view import Shape, View
from toolkit.plan.schema import Ref


@dataclass(frozen=True)
class Product:
    """left [.., M, K] times right [.., K, N], as Views of equal outer axes."""

    left: View
    right: View


@dataclass(frozen=True)
class Softmax:
    """Over the last axis of a View."""

    x: View


@dataclass(eq=False)
class Deferred:
    """Memory [shape], row by row, that `fill` computes when it is read for the first time."""

    dtype: str
    shape: Shape
    of: Product | Softmax
    fill: Callable[[], Location]

    @cached_property
    def ref(self) -> Ref:
        """Where it lies: from here on it is computed."""
        return self.fill().ref
