"""What polynomials claim of quotients, remainders and bounds, at every coordinate there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from toolkit.compiler.views.division import floordiv, joined, remainder
from toolkit.compiler.views.poly import (
    Axis,
    Computed,
    Factor,
    Poly,
    Quotient,
    Remainder,
    Symbol,
    below,
    lower,
    magnitude,
    nonnegative,
    poly,
    product,
    upper,
)

SEQ, PAST = Poly.of(Symbol("seq", 1, 5)), Poly.of(Symbol("past", 0, 6))
SYMBOLS = [{"seq": seq, "past": past} for seq in (1, 2, 5) for past in (0, 1, 6)]


def value(p: Poly, at: Mapping[str, int]) -> int:
    return sum(k * int(np.prod([_value(f, at) for f in monomial])) for monomial, k in p.terms)


def _value(factor: Factor, at: Mapping[str, int]) -> int:
    if isinstance(factor, Quotient):
        return value(factor.x, at) // value(factor.d, at)
    if isinstance(factor, Remainder):
        return value(factor.x, at) % value(factor.d, at)
    assert not isinstance(factor, Computed)
    return at[factor.name]


def every_coordinate(axes: list[Poly]) -> Iterator[dict[str, int]]:
    """Symbols and coordinates of all axes, at several values of the symbols."""
    for symbols in SYMBOLS:
        named = [factor for axis in axes for factor in axis.factors() if isinstance(factor, Axis)]
        sizes = [value(axis.size, symbols) for axis in named]
        for place in itertools.product(*(range(size) for size in sizes)):
            names = (axis.name for axis in named)
            yield {**symbols, **dict(zip(names, place, strict=True))}


def random_axes(random: Any) -> list[Poly]:
    sizes = [poly(1), poly(2), poly(3), poly(7), SEQ, PAST, PAST + SEQ, 2 * SEQ]
    chosen = random.choice(len(sizes), int(random.integers(1, 4)))
    return [Poly.of(Axis(f"i{n}", sizes[k])) for n, k in enumerate(chosen)]


def random_poly(random: Any, axes: list[Poly]) -> Poly:
    """A few terms, none of them negative."""
    total = poly(int(random.integers(0, 9)))
    for _ in range(int(random.integers(1, 4))):
        factors = [*axes, SEQ, PAST, poly(1)]
        chosen = random.choice(len(factors), int(random.integers(1, 3)))
        term = product(factors[k] for k in chosen) * int(random.integers(1, 15))
        total += term
    if random.random() < 0.3:
        total = floordiv(total, poly(int(random.integers(1, 5)))) * int(random.integers(1, 5))
    return total


def random_divisor(random: Any) -> Poly:
    sizes = [poly(1), poly(2), poly(3), poly(7), poly(12), SEQ, PAST + SEQ, 3 * SEQ, SEQ * SEQ]
    return sizes[int(random.integers(len(sizes)))]


@pytest.mark.parametrize("seed", range(60))
def test_quotients_and_remainders(seed: int) -> None:
    random = np.random.default_rng(seed)
    axes = random_axes(random)
    p, d = random_poly(random, axes), random_divisor(random)
    if random.random() < 0.5:  # as movement leaves them: a multiple and what is smaller
        p = p * d + remainder(random_poly(random, axes), d)
    quotient, rest = floordiv(p, d), remainder(p, d)
    whole = joined(quotient * d + rest)
    for at in every_coordinate(axes):
        x, y = value(p, at), value(d, at)
        assert value(quotient, at) == x // y and value(rest, at) == x % y, (p, d)
        assert value(whole, at) == x


@pytest.mark.parametrize("seed", range(60))
def test_quotients_of_what_is_negative_elsewhere(seed: int) -> None:
    """A part of a Concat is asked for coordinates before it, too: those may give anything."""
    random = np.random.default_rng(1000 + seed)
    axes = random_axes(random)
    p, d = random_poly(random, axes) - int(random.integers(1, 40)), random_divisor(random)
    quotient, rest = floordiv(p, d), remainder(p, d)
    for at in every_coordinate(axes):
        x, y = value(p, at), value(d, at)
        if x >= 0:
            assert value(quotient, at) == x // y and value(rest, at) == x % y, (p, d)


@pytest.mark.parametrize("seed", range(60))
def test_bounds(seed: int) -> None:
    random = np.random.default_rng(2000 + seed)
    axes = random_axes(random)
    p, q = (random_poly(random, axes) - random_poly(random, axes) for _ in range(2))
    top, bottom, most = upper(p), lower(p), magnitude(p)
    less = below(p, q)
    for at in every_coordinate(axes):
        assert value(bottom, at) <= value(p, at) <= value(top, at)
        assert abs(value(p, at)) <= most
        assert not less or value(p, at) < value(q, at)


def test_what_is_proved() -> None:
    i, j = Poly.of(Axis("i", SEQ)), Poly.of(Axis("j", poly(7)))
    assert below(i, SEQ) and below(i, PAST + SEQ) and below(PAST + i, PAST + SEQ)
    assert not below(i, PAST) and not below(SEQ, i)
    assert nonnegative(SEQ - 1) and not nonnegative(PAST - 1)
    assert floordiv(7 * i + j, poly(7)) == i and remainder(7 * i + j, poly(7)) == j
    assert floordiv(7 * i + j - 35, poly(7)) == i - 5 and remainder(7 * i + j - 35, poly(7)) == j
    assert floordiv(21 * i + 3 * j, poly(21)) == i
    both = (PAST + SEQ) * j + i
    assert floordiv(both, PAST + SEQ) == j and remainder(both, PAST + SEQ) == i
    x = Poly.of(Axis("x", poly(100)))
    assert floordiv(floordiv(x, poly(3)), poly(5)) == floordiv(x, poly(15))
    assert joined(4 * floordiv(x, poly(4)) + remainder(x, poly(4))) == x


def test_text_is_the_same_for_equal_sums() -> None:
    i, j = Poly.of(Axis("i0", SEQ)), Poly.of(Axis("i1", poly(7)))
    assert str(7 * i + j - 3) == str(j - 3 + i * 7) == "7*i0 + i1 - 3"
    assert str(i - i) == "0" and str(-i) == "-i0" and str(3 - i) == "3 - i0"
    assert str(floordiv(3 * i - 2 * j + 40, poly(5))) == "((3*i0 + 40 - 2*i1) // 5)"
