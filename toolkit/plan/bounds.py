"""What holds for an expression everywhere in a box of symbols: interval arithmetic, and a divisor.

Sound, not always tight: no value lies outside of the bounds, and the divisor divides every value.
The runner computes the same (android_runner/sizes/bounds.h).
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from toolkit.errors import PocketError

Number: TypeAlias = int | float  # a float only as an infinite bound
INT64_MAX = 2**63 - 1


class Bounds(NamedTuple):
    """`low` and `high`, both included, and a number that divides every value; 0 divides only 0."""

    low: Number
    high: Number
    divisor: int = 1


def bounds_of(low: Number, high: Number, divisor: int = 1) -> Bounds:
    """Bounds that fit into 64 bits; where only one value is possible it is its own divisor."""
    for end in (low, high):
        if isinstance(end, int) and not -INT64_MAX - 1 <= end <= INT64_MAX:
            raise PocketError("malformed expression", "it may leave 64 bits")
    return Bounds(low, high, abs(low) if low == high and isinstance(low, int) else divisor)


def _monotone(
    operation: Callable[[Number, Number], Number], divisor: Callable[[Bounds, Bounds], int]
) -> Callable[[Bounds, Bounds], Bounds]:
    """Bounds of an operation that is monotone in each operand, so extreme at the corners."""

    def bounds(left: Bounds, right: Bounds) -> Bounds:
        values = [operation(a, b) for a in left[:2] for b in right[:2]]
        return bounds_of(min(values), max(values), divisor(left, right))

    return bounds


def _common(left: Bounds, right: Bounds) -> int:
    return math.gcd(left.divisor, right.divisor)


def _divided(left: Bounds, right: Bounds) -> int:
    number = right.low
    whole = isinstance(number, int) and number == right.high and number > 0
    return left.divisor // int(number) if whole and left.divisor % number == 0 else 1


def _times(a: Number, b: Number) -> Number:
    return 0 if a == 0 or b == 0 else a * b  # 0 * inf is 0 here: a bound, not a limit


def _over(a: Number, b: Number) -> Number:
    if math.isinf(b):
        return 0 if a == 0 or (a > 0) == (b > 0) else -1
    if math.isinf(a):
        return a if b > 0 else -a
    return a // b


def _divide(left: Bounds, right: Bounds) -> Bounds:
    if right.low <= 0 <= right.high:
        raise PocketError("malformed expression", "it may divide by zero")
    return _monotone(_over, _divided)(left, right)


def _modulo(left: Bounds, right: Bounds) -> Bounds:
    if right.low <= 0:
        raise PocketError("malformed expression", "a modulus may be zero or negative")
    if left.low >= 0 and left.high < right.low:
        return bounds_of(left.low, left.high, _common(left, right))
    high = right.high - 1
    return bounds_of(0, min(high, left.high) if left.low >= 0 else high, _common(left, right))


ON_BOUNDS: dict[str, Callable[[Bounds, Bounds], Bounds]] = {
    "+": _monotone(lambda a, b: a + b, _common),
    "-": _monotone(lambda a, b: a - b, _common),
    "*": _monotone(_times, lambda a, b: a.divisor * b.divisor),
    "//": _divide,
    "%": _modulo,
    "min": _monotone(min, _common),
    "max": _monotone(max, _common),
}
