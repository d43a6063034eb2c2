"""Reverse Polish: what sympy expressions become in plan.json, and the stack that runs it."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeAlias, TypeVar

import sympy

from toolkit.errors import PocketError

Code: TypeAlias = tuple[int | str, ...]
T = TypeVar("T")

OPERATORS = ("+", "-", "*", "//", "%", "min", "max")
MAX_TOKENS = 1000
MAX_DEPTH = 32  # of the stack; the runner's has no more
MAX_LITERAL = 2**62


def run(code: Code, load: Callable[[int | str], T], apply: Mapping[str, Callable[[T, T], T]]) -> T:
    """The one value that the code leaves on the stack, which `checked` has made sure of."""
    stack: list[T] = []
    for token in code:
        if token in apply:
            right = stack.pop()
            stack.append(apply[str(token)](stack.pop(), right))
        else:
            stack.append(load(token))
    return stack[0]


def checked(tokens: list[object]) -> Code:
    """The tokens, once it is sure that they leave exactly one value on the stack."""
    depth, code = 0, list[int | str]()
    for token in tokens:
        depth += -1 if token in OPERATORS else 1
        if not 1 <= depth <= MAX_DEPTH:
            few = "too few operands for" if depth < 1 else "too deep a stack at"
            raise PocketError("malformed expression", f"{few} {token!r:.60}")
        code.append(token if isinstance(token, str) else literal(token))
    if depth != 1 or len(code) > MAX_TOKENS:
        raise PocketError("malformed expression", f"{len(code)} tokens leave {depth} values")
    return tuple(code)


def literal(token: object) -> int:
    """A number among the tokens."""
    if isinstance(token, bool) or not isinstance(token, int):
        raise PocketError("malformed expression", f"{token!r:.60} is not an integer")
    if abs(token) > MAX_LITERAL:
        raise PocketError("malformed expression", f"{token!r:.60} is too large")
    return token


@lru_cache(maxsize=65536)
def code_of(expr: sympy.Expr) -> Code:
    """The expression in reverse Polish; a PocketError where it has none."""
    if expr.is_Integer:
        return (int(expr),)
    if expr.is_Symbol:
        return (expr.name,)
    if isinstance(expr, sympy.Add):
        return _sum(expr)
    if isinstance(expr, sympy.Mul):
        return _product(expr)
    if isinstance(expr, sympy.Pow) and expr.exp.is_Integer and expr.exp > 0:
        return _fold([code_of(expr.base)] * int(expr.exp), "*")
    if isinstance(expr, sympy.floor):
        above, below = sympy.fraction(sympy.together(expr.args[0]))
        return (*code_of(above), *code_of(below), "//")
    if isinstance(expr, sympy.ceiling):
        return (0, *code_of(sympy.floor(-expr.args[0], evaluate=False)), "-")
    if isinstance(expr, sympy.Mod):
        return (*code_of(expr.args[0]), *code_of(expr.args[1]), "%")
    if isinstance(expr, sympy.Max | sympy.Min):
        operands = sorted(expr.args, key=lambda a: (a.is_Integer, sympy.default_sort_key(a)))
        return _fold([code_of(a) for a in operands], type(expr).__name__.lower())
    raise PocketError(
        f"the size {expr} is not an integer expression",
        f"{type(expr).__name__} has no form over {' '.join(OPERATORS)}",
    )


def _sum(expr: sympy.Add) -> Code:
    terms = [(t, _is_negative(t)) for t in expr.as_ordered_terms()]
    terms.sort(key=lambda t: t[1])  # stable: what is added first, then what is taken away
    code: Code = (0,) if terms[0][1] else code_of(terms.pop(0)[0])
    for term, negative in terms:
        code = (*code, *code_of(-term if negative else term), "-" if negative else "+")
    return code


def _product(expr: sympy.Mul) -> Code:
    if _is_negative(expr):
        return (0, *code_of(-expr), "-")
    factors = sorted(expr.as_ordered_factors(), key=lambda f: bool(f.is_Number))
    return _fold([code_of(f) for f in factors], "*")


def _is_negative(term: sympy.Expr) -> bool:
    return bool(term.as_coeff_Mul()[0] < 0)


def _fold(codes: list[Code], operator: str) -> Code:
    folded = codes[0]
    for code in codes[1:]:
        folded = (*folded, *code, operator)
    return folded
