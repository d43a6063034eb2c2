"""What a View gives at a coordinate: a tree of functions over loads, numbers and indices.

The constructors simplify: integers that are sums and products stay polynomials, numbers are
computed, a choice that is proved is made. A tree's `text` is in the language of maps
(opencl_kernels.map.expression).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from opencl_kernels.map.expression import KIND_OF
from opencl_kernels.map.functions import BOOL, FLOAT, INT, SCALAR_OPS
from toolkit.compiler.views.poly import (
    Computed,
    Names,
    Poly,
    Quotient,
    Remainder,
    below,
    floordiv,
    magnitude,
    poly,
    remainder,
)

INFIX = {
    **{"Add": "+", "Sub": "-", "Mul": "*", "Less": "<", "LessOrEqual": "<=", "Greater": ">"},
    **{"GreaterOrEqual": ">=", "Equal": "=="},
}


@dataclass(frozen=True)
class Number:
    """A float or a truth value; whole numbers are an `Index`."""

    value: float | bool

    @property
    def kind(self) -> str:
        """Of the element."""
        return BOOL if isinstance(self.value, bool) else FLOAT

    def text(self, _: Names) -> str:
        """As an expression."""
        return repr(self.value)

    cost = 0


@dataclass(frozen=True)
class Index:
    """An integer that is a polynomial of coordinates and symbols."""

    poly: Poly
    kind = INT
    cost = 0

    def text(self, names: Names) -> str:
        """As an expression."""
        return self.poly.enclosed(names)


@dataclass(frozen=True)
class Load:
    """An element of memory; `source` is hashable and has a `dtype`."""

    source: Any
    at: Poly
    cost = 0

    @property
    def kind(self) -> str:
        """Of the element."""
        return KIND_OF[self.source.dtype]

    def text(self, names: Names) -> str:
        """As an expression."""
        return f"{names(self.source)}[{self.at.text(names)}]"


@dataclass(frozen=True)
class Start:
    """The first token of a text that is no padding."""

    text_of_batch: Poly
    kind = INT
    cost = 0

    def text(self, names: Names) -> str:
        """As an expression."""
        return f"start[{self.text_of_batch.text(names)}]"


@dataclass(frozen=True)
class Local:
    """A float that a kernel calls so, as `s` of a row of scores."""

    name: str
    kind = FLOAT
    cost = 0

    def text(self, _: Names) -> str:
        """As an expression."""
        return self.name


@dataclass(frozen=True)
class Apply:
    """A function of SCALAR_OPS."""

    op: str
    operands: tuple[Scalar, ...]

    @property
    def kind(self) -> str:
        """Of the result."""
        return SCALAR_OPS[self.op].result or self.operands[-1].kind

    @cached_property
    def cost(self) -> int:
        """How many functions are computed."""
        return int(SCALAR_OPS[self.op].costs) + sum(operand.cost for operand in self.operands)

    def text(self, names: Names) -> str:
        """As an expression."""
        operands = [operand.text(names) for operand in self.operands]
        if self.op in INFIX:
            return f"({operands[0]} {INFIX[self.op]} {operands[1]})"
        return f"{self.op}({', '.join(operands)})"


Scalar: TypeAlias = Number | Index | Load | Start | Local | Apply


def number(value: Any) -> Scalar:
    """A constant of its own kind."""
    if isinstance(value, bool | np.bool_):
        return Number(bool(value))
    return Index(poly(int(value))) if isinstance(value, int | np.integer) else Number(float(value))


def apply(op: str, *operands: Scalar) -> Scalar:
    """The function of operands, simplified."""
    if op == "Identity":
        return operands[0]
    for simplify in (_of_indices, _cast, _chosen, _computed):
        found = simplify(op, operands)
        if found is not None:
            return found
    return Apply(op, operands)


def _of_indices(op: str, operands: tuple[Scalar, ...]) -> Scalar | None:
    """Sums and products of integers are polynomials, comparisons may be proved."""
    indices = [operand.poly for operand in operands if isinstance(operand, Index)]
    if len(indices) != len(operands) or not indices:
        return None
    match op, indices:
        case "Add", [a, b]:
            return _sized(op, operands, a + b)
        case "Sub", [a, b]:
            return _sized(op, operands, a - b)
        case "Mul", [a, b]:
            return _sized(op, operands, a * b)
        case "Neg", [a]:
            return Index(-a)
        case "Div", [a, b] if _is_counted(a, b):
            return Index(floordiv(a, b))
        case (("Mod" | "Fmod"), [a, b]) if _is_counted(a, b):
            return Index(remainder(a, b))
        case ("Less", [a, b]) | ("Greater", [b, a]):
            return _decided(below(a, b), below(b, a + 1))
        case ("LessOrEqual", [a, b]) | ("GreaterOrEqual", [b, a]):
            return _decided(below(a, b + 1), below(b, a))
        case "Equal", [a, b]:
            return _decided(a == b, below(a, b) or below(b, a))
        case "Max", [a, b]:
            return Index(a) if below(b, a + 1) else Index(b) if below(a, b + 1) else None
        case "Min", [a, b]:
            return Index(b) if below(b, a + 1) else Index(a) if below(a, b + 1) else None
    return None


def _sized(op: str, operands: tuple[Scalar, ...], found: Poly) -> Scalar:
    """A polynomial of 32 bits, as kernels compute them; what may be larger is computed in 64."""
    if found.number is not None:
        return Index(poly((found.number + 2**63) % 2**64 - 2**63))
    if magnitude(found) < 2**31:
        return Index(found)
    first, *more = operands
    return Apply(op, (Apply("Int", (first,)), *more))


def _is_counted(a: Poly, b: Poly) -> bool:
    """Whether a // b is a quotient of what is not negative."""
    return below(poly(-1), a) and below(poly(0), b)


def _decided(yes: bool, no: bool) -> Scalar | None:
    return Number(True) if yes else Number(False) if no else None


def _cast(op: str, operands: tuple[Scalar, ...]) -> Scalar | None:
    """A cast to the kind that it has already, or to 32 bits of what has no more."""
    if op == "Int32":
        return operands[0] if isinstance(operands[0], Index) and _is_small(operands[0]) else None
    if op not in ("Float", "Int", "Bool"):
        return None
    return operands[0] if operands[0].kind == SCALAR_OPS[op].result else None


def _is_small(index: Index) -> bool:
    return magnitude(index.poly) < 2**31


def _chosen(op: str, operands: tuple[Scalar, ...]) -> Scalar | None:
    """Where on a known condition, And and Or with a known operand."""
    if op == "Where":
        condition, yes, no = operands
        if isinstance(condition, Number):
            return yes if condition.value else no
        return yes if yes == no else None
    if op in ("And", "Or"):
        for known, other in (operands, operands[::-1]):
            if isinstance(known, Number):
                return other if bool(known.value) == (op == "And") else known
    return None


def _computed(op: str, operands: tuple[Scalar, ...]) -> Scalar | None:
    """A function of numbers, in float64; powers that are products."""
    values = [_value(operand) for operand in operands]
    if op == "Pow" and values[0] is None and values[1] is not None:
        return _power(operands[0], float(values[1]))
    if None in values:
        return None
    with np.errstate(all="ignore"):
        found = SCALAR_OPS[op].numpy(*map(np.asarray, values))
    return number(np.asarray(found)[()])


def _value(scalar: Scalar) -> Any:
    if isinstance(scalar, Number):
        return scalar.value
    return scalar.poly.number if isinstance(scalar, Index) else None


def _power(base: Scalar, exponent: float) -> Scalar | None:
    if exponent in (2.0, 3.0):
        square = apply("Mul", base, base)
        return square if exponent == 2 else apply("Mul", square, base)
    return {0.5: lambda: apply("Sqrt", base), 1.0: lambda: base}.get(exponent, lambda: None)()


def index_of(value: Scalar, size: Poly) -> Poly:
    """A scalar as an index into `size` elements: below zero it counts from the end."""
    if isinstance(value, Index):
        p = value.poly
        if p.number is not None and p.number < 0:
            return size + p.number
        if below(p, size) and below(poly(-1), p):
            return p
    return Poly.of(Computed(apply("Within", value, Index(size)), size - 1))


def replaced(scalar: Scalar, old: Scalar, new: Scalar) -> Scalar:
    """The scalar with another in place of one that it is made of."""
    if scalar == old:
        return new
    if not isinstance(scalar, Apply):
        return scalar
    return apply(scalar.op, *(replaced(operand, old, new) for operand in scalar.operands))


def loads(scalar: Scalar) -> Iterator[Load]:
    """What it is made of that is loaded, indices aside; some of it more than once."""
    if isinstance(scalar, Load):
        yield scalar
    for operand in scalar.operands if isinstance(scalar, Apply) else ():
        yield from loads(operand)


def sources(scalar: Scalar) -> Iterator[Any]:
    """The memory that is read, in the order of the text; some of it more than once."""
    if isinstance(scalar, Load):
        yield scalar.source
        yield from _sources_of(scalar.at)
    elif isinstance(scalar, Index):
        yield from _sources_of(scalar.poly)
    elif isinstance(scalar, Start):
        yield from _sources_of(scalar.text_of_batch)
    elif isinstance(scalar, Apply):
        for operand in scalar.operands:
            yield from sources(operand)


def _sources_of(p: Poly) -> Iterator[Any]:
    for factor in p.factors():
        if isinstance(factor, Computed):
            yield from sources(factor.value)
        elif isinstance(factor, Quotient | Remainder):
            yield from _sources_of(factor.x)
