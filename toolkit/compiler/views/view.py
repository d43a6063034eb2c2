"""A View: the shape of a value, and what its element at any coordinates is.

Movement ops substitute coordinates, elementwise ops join what their operands read: neither stores
anything. What memory holds is the simplest View, a load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy

from opencl_kernels.map.expression import KIND_OF
from toolkit.compiler.views.division import floordiv, joined, remainder
from toolkit.compiler.views.poly import Axis, Poly, Symbol, poly, product
from toolkit.compiler.views.scalar import Index, Load, Scalar
from toolkit.compiler.views.simplify import apply
from toolkit.plan.expr import Box, symbol

At: TypeAlias = Sequence[Poly]
Shape: TypeAlias = tuple[Poly, ...]

SAMPLE = {"seq": 1009, "past": 20011, "rows": 97}  # sizes at which products are compared


@dataclass(frozen=True)
class View:
    """A value nobody stored: `read` gives its element at coordinates of `shape`."""

    shape: Shape
    dtype: str  # the type that it is stored in, if it must be
    read: Callable[[At], Scalar]

    @property
    def kind(self) -> str:
        """Of its elements: float, int or bool."""
        return KIND_OF[self.dtype]


def in_memory(source: Any, shape: Shape, first: Poly | int = 0) -> View:
    """What lies in memory row by row; `source` has a `dtype`."""
    return View(shape, source.dtype, lambda at: Load(source, joined(linear(at, shape) + first)))


def axes_of(shape: Shape, ones: bool = False) -> list[Poly]:
    """Coordinates of every element: i0, i1 …; `ones`: axes of size 1 have a name too."""
    named, at = 0, list[Poly]()
    for size in shape:
        at.append(poly(0) if size.number == 1 else Poly.of(Axis(f"i{named}", size)))
        named += ones or size.number != 1
    return at


def linear(at: At, shape: Sequence[Poly]) -> Poly:
    """The place of an element, counted row by row."""
    total = poly(0)
    for place, size in zip(at, shape, strict=True):
        total = total * size + place
    return total


def unravelled(flat: Poly, shape: Sequence[Poly]) -> list[Poly]:
    """The inverse of `linear`."""
    at = list[Poly]()
    for size in reversed(shape[1:]):
        at.append(remainder(flat, size))
        flat = floordiv(flat, size)
    return [*([flat] if shape else []), *reversed(at)]


def transposed(x: View, perm: Sequence[int]) -> View:
    """Axis perm[i] becomes axis i."""
    places = [list(perm).index(axis) for axis in range(len(perm))]
    shape = tuple(x.shape[axis] for axis in perm)
    return View(shape, x.dtype, lambda at: x.read([at[place] for place in places]))


def reshaped(x: View, shape: Shape) -> View:
    """The same elements in another shape."""
    groups = _aligned(x.shape, shape)

    def read(at: At) -> Scalar:
        own = [poly(0)] * len(x.shape)
        for before, after in groups:
            flat = joined(linear([at[i] for i in after], [shape[i] for i in after]))
            parts = unravelled(flat, [x.shape[i] for i in before])
            for i, part in zip(before, parts, strict=True):
                own[i] = part
        return x.read(own)

    return View(shape, x.dtype, read)


def _aligned(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes of both shapes with equal products, in order."""
    groups, i, j = list[tuple[list[int], list[int]]](), 0, 0
    while i < len(before) or j < len(after):
        ours, theirs = list[int](), list[int]()
        while True:
            p, q = product(before[k] for k in ours), product(after[k] for k in theirs)
            if (ours or theirs) and p == q and ((ours and theirs) or p.number == 1):
                break
            if i < len(before) and (j == len(after) or _size(p) <= _size(q)):
                ours.append(i)
                i += 1
            elif j < len(after):
                theirs.append(j)
                j += 1
            else:
                raise ValueError(f"{_spelled(before)} cannot become {_spelled(after)}")
        groups.append((ours, theirs))
    return groups


def _size(p: Poly) -> int:
    total = 0
    for monomial, k in p.terms:
        for factor in monomial:
            k *= SAMPLE.get(factor.text(str), 7)
        total += k
    return total


def _spelled(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def expanded(x: View, shape: Shape) -> View:
    """Broadcast, as ONNX broadcasts: sizes of 1 repeat, axes are added in front."""
    missing = len(shape) - len(x.shape)

    def read(at: At) -> Scalar:
        own = zip(x.shape, at[missing:], strict=True)
        return x.read([poly(0) if size.number == 1 else place for size, place in own])

    return View(shape, x.dtype, read)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape that all broadcast to."""
    rank = max(map(len, shapes))
    padded = [(poly(1),) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(
        next((size for size in sizes if size.number != 1), poly(1))
        for sizes in zip(*padded, strict=True)
    )


def elementwise(op: str, operands: Sequence[View], dtype: str) -> View:
    """A function of the elements of operands, which broadcast."""
    shape = broadcast([operand.shape for operand in operands])
    parts = [expanded(operand, shape) for operand in operands]
    return View(shape, dtype, lambda at: apply(op, *(part.read(at) for part in parts)))


def shifted(x: View, axis: int, size: Poly, start: Poly, step: int = 1) -> View:
    """`size` elements along an axis from `start` on, every step-th."""

    def read(at: At) -> Scalar:
        own = list(at)
        own[axis] = at[axis] * step + start
        return x.read(own)

    return View((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype, read)


def concatenated(parts: Sequence[View], axis: int) -> View:
    """Parts one after the other."""
    firsts, total = [], poly(0)
    for part in parts:
        firsts.append(total)
        total = total + part.shape[axis]

    def read(at: At) -> Scalar:
        def of(i: int) -> Scalar:
            return parts[i].read([*at[:axis], at[axis] - firsts[i], *at[axis + 1 :]])

        found = of(len(parts) - 1)
        for i in reversed(range(len(parts) - 1)):
            found = apply(
                "Where", apply("Less", Index(at[axis]), Index(firsts[i + 1])), of(i), found
            )
        return found

    shape = (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :])
    return View(shape, parts[0].dtype, read)


def poly_of(size: sympy.Expr, box: Box) -> Poly:
    """A size as a polynomial; `box`: bounds of symbols. ValueError where it is none."""
    size = sympy.expand(sympy.sympify(size))
    total = poly(0)
    for monomial, k in size.as_coefficients_dict().items():
        part = poly(int(k))
        for base, exponent in monomial.as_powers_dict().items():
            if base == 1:
                continue
            if not base.is_Symbol or not exponent.is_Integer:
                raise ValueError(f"the size {size} is no sum of products")
            for _ in range(int(exponent)):
                part = part * _symbol(base.name, box)
        total = total + part
    return total


def _symbol(name: str, box: Box) -> Poly:
    bounds = (bound for bound in box.get(name, ()) if bound is not None)
    return Poly.of(Symbol(name, *bounds))


def size_of(p: Poly) -> sympy.Expr:
    """The inverse of `poly_of`."""
    return sympy.Add(
        *(sympy.Mul(k, *(symbol(f.text(str)) for f in monomial)) for monomial, k in p.terms)
    )
