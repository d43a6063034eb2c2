"""Dimensions as sympy expressions in a few integer symbols (`seq`, `past`, `rows`)."""

import ast
import functools
import json
import operator
from collections.abc import Callable, Mapping

import onnx_ir as ir
import onnx_shape_inference as osi
import sympy

from onnx_passes.ir.graph import integers

Dim = int | ir.SymbolicDim
SMALL = 64  # elements: no shape is longer
MOST_POWER = 8  # of a size: no tensor has as many dimensions
SYMBOLS = ("seq", "past", "rows")  # that dimensions are written in, from canonicalize_dims on
MOST_TEXT = 4096  # characters of an expression


def as_expr(dim: Dim) -> sympy.Expr:
    """A dimension as a sympy expression over non-negative integer symbols."""
    if isinstance(dim, int):
        return sympy.Integer(dim)
    if dim.value is None:
        raise ValueError("an unknown dimension has no expression")
    return parse(dim.value)


def as_dim(expr: sympy.Expr) -> Dim:
    """The inverse of `as_expr`."""
    return int(expr) if expr.is_Integer else ir.SymbolicDim(expr)


def is_anonymous(dim: Dim) -> bool:
    """Whether a size is unknown, or a name that the inference made up for an unknown one."""
    if isinstance(dim, int):
        return False
    names = () if dim.value is None else (s.name for s in as_expr(dim).free_symbols)
    return dim.value is None or any(name.startswith("_d") for name in names)


def evaluated(dim: Dim | sympy.Expr, at: Mapping[str, int]) -> int:
    """The number that a dimension or expression is at given values of the symbols."""
    if isinstance(dim, int):
        return dim
    expr = as_expr(dim) if isinstance(dim, ir.SymbolicDim) else dim
    return _evaluated(expr, tuple(at.items()))


@functools.lru_cache(4096)  # a piece of a graph has many values of few sizes
def _evaluated(expr: sympy.Expr, at: tuple[tuple[str, int], ...]) -> int:
    values = dict(at)
    return int(expr.subs({symbol: values[symbol.name] for symbol in expr.free_symbols}))


@functools.lru_cache(4096)
def parse(text: str) -> sympy.Expr:
    """Read a dimension's text; every name in it becomes a non-negative integer symbol.

    Not with sympy's own reader: that evaluates Python, and the text may come from a model file.
    """
    try:
        if len(text) > MOST_TEXT:
            raise ValueError("it is too long")
        return _expr(ast.parse(text, mode="eval").body)
    except (SyntaxError, KeyError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r:.100} is no expression of dimensions") from error


def _power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    """Of small exponents: others would be computed for ever."""
    if not exponent.is_Integer or not 0 <= exponent <= MOST_POWER:
        raise ValueError(f"the exponent {exponent} is not 0 to {MOST_POWER}")
    return base**exponent


_OPERATORS: dict[type[ast.AST], Callable[..., sympy.Expr]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.USub: operator.neg,
}
_FUNCTIONS = {
    **{name: sympy.Max for name in ("max", "Max")},
    **{name: sympy.Min for name in ("min", "Min")},
    **{name: sympy.Mod for name in ("mod", "Mod")},
    "floor": sympy.floor,
    "ceiling": sympy.ceiling,
    "Abs": sympy.Abs,
}


def _expr(tree: ast.AST) -> sympy.Expr:
    match tree:
        case ast.Constant(value=int(number)):
            return sympy.Integer(number)
        case ast.Name(id=name):
            return sympy.Symbol(name, integer=True, nonnegative=True)
        case ast.BinOp(left=a, op=op, right=b):
            return _OPERATORS[type(op)](_expr(a), _expr(b))
        case ast.UnaryOp(op=op, operand=a):
            return _OPERATORS[type(op)](_expr(a))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*map(_expr, args))
    raise TypeError


def symbolic_value(value: ir.Value | None) -> list[sympy.Expr] | None:
    """The elements of a small integer tensor as expressions, as far as `infer` could follow."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None:
        numbers = integers(value) if tensor.size < SMALL else None
        return None if numbers is None else [sympy.Integer(x) for x in numbers]
    elements = [str(x) for x in json.loads(value.metadata_props.get(osi.SYM_DATA_KEY, "[null]"))]
    if any(x == "None" or x.startswith("_d") for x in elements):
        return None
    return [parse(x) for x in elements]


def unresolved_dims(model: ir.Model) -> list[str]:
    """Names of values with a dimension that is unknown or an anonymous symbol of the inference."""
    known = set(SYMBOLS)
    return [
        output.name
        for node in model.graph
        for output in node.outputs
        if output.name and (output.shape is None or any(_is_open(d, known) for d in output.shape))
    ]


def _is_open(dim: Dim, known: set[str]) -> bool:
    if isinstance(dim, int):
        return False
    return dim.value is None or not {s.name for s in as_expr(dim).free_symbols} <= known
