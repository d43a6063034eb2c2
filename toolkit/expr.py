"""Sizes as integer expressions: sympy in memory, reverse Polish in plan.json.

["seq", 63, "+", 64, "//"]  is  floor((seq + 63) / 64).  Operators: + - * // % min max, on integers.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, TypeAlias, TypeVar

import sympy

from toolkit.errors import PocketError

Expr: TypeAlias = int | sympy.Expr
Rpn: TypeAlias = int | list[int | str]
Box: TypeAlias = Mapping[str, tuple[int, int | None]]  # inclusive bounds; None: no upper bound
Code: TypeAlias = tuple[int | str, ...]
Number: TypeAlias = int | float  # a float only as an infinite bound
Interval: TypeAlias = tuple[Number, Number]
T = TypeVar("T")

OPERATORS = ("+", "-", "*", "//", "%", "min", "max")
MAX_TOKENS = 1000
MAX_LITERAL = 2**62


@cache
def symbol(name: str) -> sympy.Symbol:
    """The symbol of this name; every size in the project is built from these."""
    return sympy.Symbol(name, integer=True, nonnegative=True)


def to_rpn(expr: Expr) -> Rpn:
    """The expression as it stands in plan.json."""
    code = _code(sympy.sympify(expr))
    return code[0] if len(code) == 1 and isinstance(code[0], int) else list(code)


def from_rpn(code: object) -> Expr:
    """The expression of a plan.json entry; a PocketError says what is malformed."""
    if isinstance(code, list):
        return _built(_checked(code))
    return _literal(code)


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

    return _run(_code(sympy.sympify(expr)), load, _ON_INTEGERS)


def interval(expr: Expr, box: Box) -> Interval:
    """Bounds that hold everywhere in the box (interval arithmetic; sound, not always tight)."""

    def load(token: int | str) -> Interval:
        if isinstance(token, int):
            return token, token
        if token not in box:
            raise PocketError(f"symbol '{token}' has no bounds", f"it is needed for {expr}")
        low, high = box[token]
        return low, math.inf if high is None else high

    return _run(_code(sympy.sympify(expr)), load, _ON_INTERVALS)


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


# --- sympy -> reverse Polish -------------------------------------------------------------------


@lru_cache(maxsize=65536)
def _code(expr: sympy.Expr) -> Code:
    if expr.is_Integer:
        return (int(expr),)
    if expr.is_Symbol:
        return (expr.name,)
    if isinstance(expr, sympy.Add):
        return _sum(expr)
    if isinstance(expr, sympy.Mul):
        return _product(expr)
    if isinstance(expr, sympy.Pow) and expr.exp.is_Integer and expr.exp > 0:
        return _fold([_code(expr.base)] * int(expr.exp), "*")
    if isinstance(expr, sympy.floor):
        above, below = sympy.fraction(sympy.together(expr.args[0]))
        return (*_code(above), *_code(below), "//")
    if isinstance(expr, sympy.ceiling):
        return (0, *_code(sympy.floor(-expr.args[0], evaluate=False)), "-")
    if isinstance(expr, sympy.Mod):
        return (*_code(expr.args[0]), *_code(expr.args[1]), "%")
    if isinstance(expr, sympy.Max | sympy.Min):
        operands = sorted(expr.args, key=lambda a: (a.is_Integer, sympy.default_sort_key(a)))
        return _fold([_code(a) for a in operands], type(expr).__name__.lower())
    raise PocketError(
        f"the size {expr} is not an integer expression",
        f"{type(expr).__name__} has no form over {' '.join(OPERATORS)}",
    )


def _sum(expr: sympy.Add) -> Code:
    terms = [(t, _is_negative(t)) for t in expr.as_ordered_terms()]
    terms.sort(key=lambda t: t[1])  # stable: what is added first, then what is taken away
    code: Code = (0,) if terms[0][1] else _code(terms.pop(0)[0])
    for term, negative in terms:
        code = (*code, *_code(-term if negative else term), "-" if negative else "+")
    return code


def _product(expr: sympy.Mul) -> Code:
    if _is_negative(expr):
        return (0, *_code(-expr), "-")
    factors = sorted(expr.as_ordered_factors(), key=lambda f: bool(f.is_Number))
    return _fold([_code(f) for f in factors], "*")


def _is_negative(term: sympy.Expr) -> bool:
    return bool(term.as_coeff_Mul()[0] < 0)


def _fold(codes: list[Code], operator: str) -> Code:
    folded = codes[0]
    for code in codes[1:]:
        folded = (*folded, *code, operator)
    return folded


# --- reverse Polish -> value -------------------------------------------------------------------


def _run(code: Code, load: Callable[[int | str], T], apply: Mapping[str, Callable[[T, T], T]]) -> T:
    stack: list[T] = []
    for token in code:
        if token in apply:
            right = stack.pop()
            stack.append(apply[str(token)](stack.pop(), right))
        else:
            stack.append(load(token))
    return stack[0]


def _literal(token: object) -> int:
    if isinstance(token, bool) or not isinstance(token, int):
        raise PocketError("malformed expression", f"{token!r:.60} is not an integer")
    if abs(token) > MAX_LITERAL:
        raise PocketError("malformed expression", f"{token!r:.60} is too large")
    return token


def _checked(tokens: list[object]) -> Code:
    """The tokens, once it is sure that they leave exactly one value on the stack."""
    depth, code = 0, list[int | str]()
    for token in tokens:
        depth += -1 if token in OPERATORS else 1
        if depth < 1:
            raise PocketError("malformed expression", f"too few operands for {token!r:.60}")
        code.append(token if isinstance(token, str) else _literal(token))
    if depth != 1 or len(code) > MAX_TOKENS:
        raise PocketError("malformed expression", f"{len(code)} tokens leave {depth} values")
    return tuple(code)


@lru_cache(maxsize=65536)
def _built(code: Code) -> Expr:
    def load(token: int | str) -> Any:
        return sympy.Integer(token) if isinstance(token, int) else symbol(token)

    return _simple(_run(code, load, _ON_SYMPY))


def _simple(expr: Any) -> Expr:
    return int(expr) if expr.is_Integer else expr


def _nonzero(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def checked(left: Any, right: Any) -> Any:
        if right == 0:
            raise PocketError("malformed expression", "it divides by zero")
        return operation(left, right)

    return checked


def _corners(
    operation: Callable[[Number, Number], Number],
) -> Callable[[Interval, Interval], Interval]:
    """Bounds of an operation that is monotone in each operand, so extreme at the corners."""

    def bounds(left: Interval, right: Interval) -> Interval:
        values = [operation(a, b) for a in left for b in right]
        return min(values), max(values)

    return bounds


def _times(a: Number, b: Number) -> Number:
    return 0 if a == 0 or b == 0 else a * b  # 0 * inf is 0 here: a bound, not a limit


def _over(a: Number, b: Number) -> Number:
    if math.isinf(b):
        return 0 if a == 0 or (a > 0) == (b > 0) else -1
    if math.isinf(a):
        return a if b > 0 else -a
    return a // b


def _divide(left: Interval, right: Interval) -> Interval:
    if right[0] <= 0 <= right[1]:
        raise PocketError("malformed expression", "it may divide by zero")
    return _corners(_over)(left, right)


def _modulo(left: Interval, right: Interval) -> Interval:
    if right[0] <= 0:
        raise PocketError("malformed expression", "a modulus may be zero or negative")
    if left[0] >= 0 and left[1] < right[0]:
        return left
    high = right[1] - 1
    return 0, min(high, left[1]) if left[0] >= 0 else high


_ON_INTEGERS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": _nonzero(lambda a, b: a // b),
    "%": _nonzero(lambda a, b: a % b),
    "min": min,
    "max": max,
}
_ON_SYMPY: dict[str, Callable[[Any, Any], Any]] = {
    **_ON_INTEGERS,
    "//": _nonzero(lambda a, b: sympy.floor(a / b)),
    "%": _nonzero(lambda a, b: sympy.Mod(a, b)),
    "min": sympy.Min,
    "max": sympy.Max,
}
_ON_INTERVALS: dict[str, Callable[[Interval, Interval], Interval]] = {
    "+": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "-": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "*": _corners(_times),
    "//": _divide,
    "%": _modulo,
    "min": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "max": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
}
