"""Quotients and remainders of indices that are not negative, simplified by what bounds them.

So a reshape of a transpose of a reshape ends as one line of sums.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.compiler.views.poly import (
    Factor,
    Monomial,
    Poly,
    Quotient,
    Remainder,
    nonnegative,
    poly,
    upper,
)


def floordiv(p: Poly, d: Poly) -> Poly:
    """p // d of a p that is not negative, as simply as can be proved."""
    if d.number in (0, 1):  # along an axis of size 0 nothing is ever read
        return p
    quotient, rest = _divided(p, d)
    if nonnegative(d - 1 - upper(rest)):
        return quotient
    nested = _sole(rest, Quotient)
    if nested is not None and not quotient.terms:
        return floordiv(nested.x, nested.d * d)
    return quotient + Poly.of(Quotient(rest, d))


def remainder(p: Poly, d: Poly) -> Poly:
    """p % d of a p that is not negative, as simply as can be proved."""
    if d.number in (0, 1):
        return poly(0)
    _, rest = _divided(p, d)
    return rest if nonnegative(d - 1 - upper(rest)) else Poly.of(Remainder(rest, d))


def _divided(p: Poly, d: Poly) -> tuple[Poly, Poly]:
    """p = quotient * d + rest by the leading term of d, no term of the rest negative.

    (0, p) at worst. A number in p leaves what is smaller than d, as -35 + 7x -> (x - 5) * 7.
    """
    (lead, by), quotient, rest = d.terms[0], poly(0), p
    for monomial, _ in p.terms:
        k, left = dict(rest.terms).get(monomial, 0), list(monomial)
        exact = k % by == 0 or not (monomial or lead)
        if not k // by or not exact or not all(_taken(left, factor) for factor in lead):
            continue
        part = Poly(((tuple(left), k // by),))
        quotient, rest = quotient + part, rest - part * d
    whole = all(k > 0 for _, k in rest.terms)
    return (quotient, rest) if whole else (poly(0), p)


def _taken(factors: list[Factor], factor: Factor) -> bool:
    if factor not in factors:
        return False
    factors.remove(factor)
    return True


def _sole(p: Poly, kind: type[Quotient]) -> Quotient | None:
    """The factor that the polynomial is, if it is one of this kind."""
    if len(p.terms) != 1 or p.terms[0][1] != 1 or len(p.terms[0][0]) != 1:
        return None
    factor = p.terms[0][0][0]
    return factor if isinstance(factor, kind) else None


def joined(p: Poly) -> Poly:
    """k*d*(x // d) + k*(x % d)  ->  k*x, wherever both are in the sum."""
    terms: Mapping[Monomial, int] = dict(p.terms)
    for monomial, k in p.terms:
        for factor in monomial:
            if not isinstance(factor, Remainder):
                continue
            rest = list(monomial)
            rest.remove(factor)
            scale = Poly(((tuple(rest), k),))
            twin = scale * factor.d * floordiv(factor.x, factor.d)
            if twin.terms and all(terms.get(m) == j for m, j in twin.terms):
                return joined(p - twin - Poly(((monomial, k),)) + scale * factor.x)
    return p
