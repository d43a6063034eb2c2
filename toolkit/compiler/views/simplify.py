"""Functions of scalars, simplified where they are made.

Integers that are sums and products stay polynomials, numbers are computed, a choice that is proved
is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from opencl_kernels.map.functions import SCALAR_OPS
from toolkit.compiler.views.division import floordiv, remainder
from toolkit.compiler.views.poly import Computed, Poly, below, magnitude, poly
from toolkit.compiler.views.scalar import Apply, Index, Number, Scalar, number


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
