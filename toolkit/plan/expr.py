"""Sizes as integer expressions: sympy in memory, reverse Polish in plan.json.

["seq", 63, "+", 64, "//"]  is  floor((seq + 63) / 64).  Operators: + - * // % min max, on integers.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, TypeAlias

import sympy

from toolkit.errors import PocketError
from toolkit.plan.bounds import INT64_MAX, ON_BOUNDS, Bounds, Number, bounds_of
from toolkit.plan.rpn import Code, checked, code_of, literal, run

Expr: TypeAlias = int | sympy.Expr
Rpn: TypeAlias = int | list[int | str]
Box: TypeAlias = Mapping[str, tuple[int, int | None]]  # inclusive bounds; None: no upper bound
Interval: TypeAlias = tuple[Number, Number]


@cache
def symbol(name: str) -> sympy.Symbol:
    """The symbol of this name; every size in the project is built from these."""
    return sympy.Symbol(name, integer=True, nonnegative=True)


def to_rpn(expr: Expr) -> Rpn:
    """The expression as it stands in plan.json."""
    code = code_of(sympy.sympify(expr))
    return code[0] if len(code) == 1 and isinstance(code[0], int) else list(code)


def from_rpn(code: object) -> Expr:
    """The expression of a plan.json entry; a PocketError says what is malformed."""
    if isinstance(code, list):
        return _built(checked(code))
    return literal(code)


def evaluate(expr: Expr, symbols: Mapping[str, int]) -> int:
    """The value of an expression when every symbol has one."""
    if isinstance(expr, int):
        return expr

    def load(token: int | str) -> int:
        if isinstance(token, int):
            return token
        if token not in symbols:
            raise PocketError(f"symbol '{token}' has no value", f"it is needed for {expr}")
        return symbols[token]

    return run(code_of(sympy.sympify(expr)), load, _ON_INTEGERS)


def interval(expr: Expr, box: Box) -> Interval:
    """Bounds that hold everywhere in the box (interval arithmetic; sound, not always tight)."""
    return _bounds(expr, box)[:2]


def divisor(expr: Expr, box: Box) -> int:
    """A number that divides every value in the box (sound, not always the largest one)."""
    return _bounds(expr, box).divisor


def maximum(expr: Expr, box: Box) -> int:
    """An upper bound over the box; an error names the symbols that leave it open."""
    high = interval(expr, box)[1]
    if isinstance(high, int):
        return high
    names = sorted(s.name for s in sympy.sympify(expr).free_symbols)
    open_names = ", ".join(n for n in names if box[n][1] is None)
    raise PocketError(
        f"the size {expr} has no upper bound",
        f"nothing limits {open_names}",
        f"give {open_names} an upper bound",
    )


def symbols_of(expr: Expr) -> set[str]:
    """Names of the symbols that the expression depends on."""
    if isinstance(expr, int):
        return set()
    return {s.name for s in sympy.sympify(expr).free_symbols}


def product(shape: tuple[Expr, ...]) -> Expr:
    """Number of elements of a shape."""
    return _simple(math.prod(shape, start=sympy.Integer(1)))


def _bounds(expr: Expr, box: Box) -> Bounds:
    def load(token: int | str) -> Bounds:
        if isinstance(token, int):
            return bounds_of(token, token)
        if token not in box:
            raise PocketError(f"symbol '{token}' has no bounds", f"it is needed for {expr}")
        low, high = box[token]
        return bounds_of(low, math.inf if high is None else high)

    return run(code_of(sympy.sympify(expr)), load, ON_BOUNDS)


@lru_cache(maxsize=65536)
def _built(code: Code) -> Expr:
    def load(token: int | str) -> Any:
        return sympy.Integer(token) if isinstance(token, int) else symbol(token)

    return _simple(run(code, load, _ON_SYMPY))


def _simple(expr: Any) -> Expr:
    return int(expr) if expr.is_Integer else expr


def _nonzero(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def divide(left: Any, right: Any) -> Any:
        if right == 0:
            raise PocketError("malformed expression", "it divides by zero")
        return operation(left, right)

    return divide


def _fitting(operation: Callable[[int, int], int]) -> Callable[[int, int], int]:
    """The operation; an error where its result has more than the 64 bits that the runner has."""

    def apply(left: int, right: int) -> int:
        value = operation(left, right)
        if not -INT64_MAX - 1 <= value <= INT64_MAX:
            raise PocketError("malformed expression", f"{value} leaves 64 bits")
        return value

    return apply


_ON_SYMPY: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": _nonzero(lambda a, b: sympy.floor(a / b)),
    "%": _nonzero(lambda a, b: sympy.Mod(a, b)),
    "min": sympy.Min,
    "max": sympy.Max,
}
_ON_INTEGERS: dict[str, Callable[[int, int], int]] = {
    **{name: _fitting(_ON_SYMPY[name]) for name in ("+", "-", "*")},
    "//": _fitting(_nonzero(lambda a, b: a // b)),
    "%": _nonzero(lambda a, b: a % b),
    "min": min,
    "max": max,
}
