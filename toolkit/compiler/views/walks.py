"""What a scalar is made of: the memory that it reads, and parts that are put in place of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolkit.compiler.views.poly import Computed, Poly, Quotient, Remainder
from toolkit.compiler.views.scalar import Apply, Index, Load, Scalar, Start
from toolkit.compiler.views.simplify import apply


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
