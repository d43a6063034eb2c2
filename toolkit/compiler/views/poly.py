"""Integer polynomials over axes, symbols and what is no polynomial: the indices of Views.

Everything that addresses memory is a `Poly`. Axes (0 <= axis < size) and symbols (low .. most)
bound it, so that comparisons may be proved; division.py has quotients and remainders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

Names: TypeAlias = Callable[[Any], str]  # how a kernel calls the memory that a scalar loads from


@dataclass(frozen=True)
class Symbol:
    """A symbol of the plan: low .. most."""

    name: str
    low: int = 0
    most: int = 2**20

    def text(self, _: Names) -> str:
        """As an expression."""
        return self.name

    @property
    def high(self) -> Poly:
        """What it never exceeds, in symbols."""
        return Poly.of(self)


@dataclass(frozen=True)
class Axis:
    """A coordinate: 0 .. size - 1."""

    name: str
    size: Poly

    def text(self, _: Names) -> str:
        """As an expression."""
        return self.name

    @property
    def high(self) -> Poly:
        """What it never exceeds, in symbols."""
        return self.size - 1


@dataclass(frozen=True)
class Quotient:
    """x // d of an x that is not negative."""

    x: Poly
    d: Poly

    def text(self, names: Names) -> str:
        """As an expression."""
        return f"({self.x.enclosed(names)} // {self.d.single(names)})"

    @property
    def high(self) -> Poly:
        """What it never exceeds, in symbols."""
        top, by = upper(self.x), self.d.number
        if top.number is not None and by is not None:
            return Poly.number_of(top.number // by)
        return top


@dataclass(frozen=True)
class Remainder:
    """x % d of an x that is not negative."""

    x: Poly
    d: Poly

    def text(self, names: Names) -> str:
        """As an expression."""
        return f"({self.x.enclosed(names)} % {self.d.single(names)})"

    @property
    def high(self) -> Poly:
        """What it never exceeds, in symbols."""
        return self.d - 1


@dataclass(frozen=True)
class Computed:
    """An integer that a scalar expression computes, of 0 .. high."""

    value: Any  # a Scalar
    high: Poly

    def text(self, names: Names) -> str:
        """As an expression."""
        return str(self.value.text(names))


Factor: TypeAlias = Symbol | Axis | Quotient | Remainder | Computed
Monomial: TypeAlias = tuple[Factor, ...]


@dataclass(frozen=True)
class Poly:
    """A sum of monomials with whole coefficients, in a fixed order: equal sums are equal."""

    terms: tuple[tuple[Monomial, int], ...] = ()

    @staticmethod
    def summed(terms: Iterable[tuple[Monomial, int]]) -> Poly:
        """The sum of terms in any order."""
        total = dict[Monomial, int]()
        for monomial, k in terms:
            total[monomial] = total.get(monomial, 0) + k
        kept = ((m, k) for m, k in total.items() if k)
        return Poly(tuple(sorted(kept, key=lambda term: (-len(term[0]), _key(term[0])))))

    @staticmethod
    def of(factor: Factor) -> Poly:
        """A single factor."""
        return Poly((((factor,), 1),))

    @staticmethod
    def number_of(number: int) -> Poly:
        """A constant."""
        return Poly((((), number),)) if number else Poly()

    @cached_property
    def number(self) -> int | None:
        """Its value, if it is constant."""
        if not self.terms:
            return 0
        (monomial, k), *more = self.terms
        return k if not more and not monomial else None

    def factors(self) -> Iterator[Factor]:
        """What it depends on directly, in the order of its text; some of it more than once."""
        return (factor for monomial, _ in self.terms for factor in monomial)

    def __add__(self, other: Poly | int) -> Poly:
        return Poly.summed([*self.terms, *poly(other).terms])

    __radd__ = __add__

    def __neg__(self) -> Poly:
        return Poly(tuple((m, -k) for m, k in self.terms))

    def __sub__(self, other: Poly | int) -> Poly:
        return self + -poly(other)

    def __rsub__(self, other: int) -> Poly:
        return poly(other) - self

    def __mul__(self, other: Poly | int) -> Poly:
        return Poly.summed(
            (tuple(sorted(m + n, key=_factor_key)), k * j)
            for m, k in self.terms
            for n, j in poly(other).terms
        )

    __rmul__ = __mul__

    def text(self, names: Names) -> str:
        """As an expression of the language of maps."""
        signed = [(k < 0, _monomial_text(m, abs(k), names)) for m, k in self.terms]
        if not signed:
            return "0"
        signed.sort(key=lambda each: each[0])  # what is added first
        head = ("-" if signed[0][0] else "") + signed[0][1]
        return head + "".join(f" {'-' if minus else '+'} {text}" for minus, text in signed[1:])

    def enclosed(self, names: Names) -> str:
        """The same, in parentheses where it is a sum."""
        text = self.text(names)
        return f"({text})" if len(self.terms) > 1 or text.startswith("-") else text

    def single(self, names: Names) -> str:
        """The same, in parentheses unless it is a number or one factor."""
        factors = [monomial for monomial, k in self.terms if k != 1 or len(monomial) != 1]
        return f"({self.text(names)})" if factors and self.number is None else self.enclosed(names)

    def __str__(self) -> str:
        return self.text(lambda source: "?")


def _monomial_text(monomial: Monomial, k: int, names: Names) -> str:
    factors = [factor.text(names) for factor in monomial]
    return "*".join(([] if k == 1 and factors else [str(k)]) + factors)


def _factor_key(factor: Factor) -> str:
    return factor.text(str)


def _key(monomial: Monomial) -> tuple[str, ...]:
    return tuple(map(_factor_key, monomial))


def poly(value: Poly | int) -> Poly:
    """A number as a polynomial."""
    return value if isinstance(value, Poly) else Poly.number_of(value)


def product(sizes: Iterable[Poly]) -> Poly:
    """The product of sizes."""
    total = poly(1)
    for size in sizes:
        total = total * size
    return total


def upper(p: Poly) -> Poly:
    """A polynomial of symbols that is never below `p`."""
    return _bound(p, above=True)


def lower(p: Poly) -> Poly:
    """A polynomial of symbols that is never above `p`."""
    return _bound(p, above=False)


def _bound(p: Poly, above: bool) -> Poly:
    """Axes and what is computed are 0 or more: one side takes them at 0, the other at their top."""
    total = poly(0)
    for monomial, k in p.terms:
        if (k > 0) != above and not all(isinstance(f, Symbol) for f in monomial):
            continue
        total += product(factor.high for factor in monomial) * k
    return total


def nonnegative(p: Poly) -> bool:
    """Whether a polynomial of symbols is proved to be 0 or more: no coefficient of
    p(low + symbol) is negative."""
    shifted = poly(0)
    for monomial, k in p.terms:
        shifted += product(Poly.of(f) + getattr(f, "low", 0) for f in monomial) * k
    return all(k >= 0 for _, k in shifted.terms)


def magnitude(p: Poly) -> int:
    """What no sum of some of the terms ever exceeds, above zero or below."""
    factors = ((k, [_most(factor) for factor in monomial]) for monomial, k in p.terms)
    return sum(abs(k) * math.prod(most) for k, most in factors)


def _most(factor: Factor) -> int:
    if isinstance(factor, Symbol):
        return factor.most
    return magnitude(factor.size if isinstance(factor, Axis) else factor.high)


def below(p: Poly, q: Poly) -> bool:
    """Whether p < q is proved."""
    return nonnegative(-1 - upper(p - q))
