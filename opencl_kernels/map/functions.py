"""Functions of single elements: as OpenCL C writes them, as numpy does, and on which types.

One table for all that compute them: the kernels, their reference, the lowering. The names are those
of ONNX's ops, but for Float, Int and Bool (casts), Int32 (the lowest 32 bits of an integer, as a
cast to int32 keeps them), Fmod (C's remainder) and Within (an index that a model computed, made
safe). Max, Min and Relu hand NaN on, as ONNX demands; fmax and fmin would
swallow it, so that `larger` and `smaller` stand in elements.clh.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

FLOAT, INT, BOOL = "float", "int", "bool"  # kinds of elements; an int is of 32 or 64 bits
NUMBERS, ANY = (FLOAT, INT), (FLOAT, INT, BOOL)


@dataclass(frozen=True)
class ScalarOp:
    """A function of single elements; its operands are of one kind, but for Where's condition."""

    c: str  # over operands {0}, {1} …
    numpy: Callable[..., Any]
    operands: tuple[str, ...] = (FLOAT,)  # the kinds that it takes
    result: str = ""  # its kind; "": that of the last operand
    c_int: str = ""  # for integers, where it differs
    arity: int = 1
    costs: bool = True  # more than the reading of its operands

    def text(self, kind: str) -> str:
        """The C for operands of a kind."""
        return self.c_int if kind != FLOAT and self.c_int else self.c


def _unary(c: str, numpy: Callable[..., Any], **more: Any) -> ScalarOp:
    return ScalarOp(c, numpy, **more)


def _binary(c: str, numpy: Callable[..., Any], **more: Any) -> ScalarOp:
    return ScalarOp(c, numpy, **{"operands": NUMBERS, "arity": 2, **more})


def _compares(
    sign: str, numpy: Callable[..., Any], operands: tuple[str, ...] = NUMBERS
) -> ScalarOp:
    return _binary(f"({{0}} {sign} {{1}})", numpy, operands=operands, result=BOOL)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _quotient(x: Any, y: Any) -> Any:
    """Of floats, or of integers towards zero as C and ONNX divide."""
    if np.asarray(x).dtype.kind == "f":
        return np.divide(x, y)
    return np.asarray(np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y)), np.int64)


def _within(x: Any, n: Any) -> Any:
    return np.clip(np.where(x < 0, x + n, x), 0, n - 1)


_erf = np.vectorize(math.erf, otypes=[float])

SCALAR_OPS: dict[str, ScalarOp] = {
    "Add": _binary("({0} + {1})", np.add),
    "Sub": _binary("({0} - {1})", np.subtract),
    "Mul": _binary("({0} * {1})", np.multiply),
    "Div": _binary("({0} / {1})", _quotient),
    "Pow": _binary("pow({0}, {1})", np.power, operands=(FLOAT,)),
    "Max": _binary("larger({0}, {1})", np.maximum, c_int="({0} > {1} ? {0} : {1})"),
    "Min": _binary("smaller({0}, {1})", np.minimum, c_int="({0} < {1} ? {0} : {1})"),
    "Mod": _binary("", np.mod, operands=(INT,), c_int="(({0} % {1} + {1}) % {1})"),
    "Fmod": _binary("fmod({0}, {1})", np.fmod, c_int="({0} % {1})"),
    "Neg": _unary("(-{0})", np.negative, operands=NUMBERS),
    "Abs": _unary("fabs({0})", np.abs, operands=NUMBERS, c_int="({0} < 0 ? -{0} : {0})"),
    "Sign": _unary(
        "({0} != {0} ? {0} : sign({0}))", np.sign, operands=NUMBERS, c_int="(({0} > 0) - ({0} < 0))"
    ),
    "Exp": _unary("exp({0})", np.exp),
    "Log": _unary("log({0})", np.log),
    "Sqrt": _unary("sqrt({0})", np.sqrt),
    "Reciprocal": _unary("(1.0f / {0})", np.reciprocal),
    "Sigmoid": _unary("(1.0f / (1.0f + exp(-{0})))", _sigmoid),
    "Tanh": _unary("tanh({0})", np.tanh),
    "Relu": _unary(
        "larger({0}, 0.0f)",
        lambda x: np.maximum(x, 0),
        operands=NUMBERS,
        c_int="({0} > 0 ? {0} : 0)",
    ),
    "Erf": _unary("erf({0})", _erf),
    "Floor": _unary("floor({0})", np.floor),
    "Ceil": _unary("ceil({0})", np.ceil),
    "Round": _unary("rint({0})", np.rint),  # to even, as ONNX rounds
    "IsNaN": _unary("({0} != {0})", np.isnan, result=BOOL),
    "IsInf": _unary("isinf({0})", np.isinf, result=BOOL),
    **{
        name: _unary(f"{name.lower()}({{0}})", getattr(np, f"{full}{name.lower().lstrip('a')}"))
        for name, full in (
            *(("Sin", ""), ("Cos", ""), ("Tan", ""), ("Sinh", ""), ("Cosh", "")),
            *(("Asin", "arc"), ("Acos", "arc"), ("Atan", "arc")),
            *(("Asinh", "arc"), ("Acosh", "arc"), ("Atanh", "arc")),
        )
    },
    "Identity": _unary("{0}", lambda x: x, operands=ANY, costs=False),
    "Less": _compares("<", np.less),
    "LessOrEqual": _compares("<=", np.less_equal),
    "Greater": _compares(">", np.greater),
    "GreaterOrEqual": _compares(">=", np.greater_equal),
    "Equal": _compares("==", np.equal, ANY),
    "And": _binary("({0} && {1})", np.logical_and, operands=(BOOL,)),
    "Or": _binary("({0} || {1})", np.logical_or, operands=(BOOL,)),
    "Xor": _binary("(!{0} != !{1})", np.logical_xor, operands=(BOOL,)),
    "Not": _unary("(!{0})", np.logical_not, operands=(BOOL,)),
    "Where": ScalarOp("({0} ? {1} : {2})", np.where, operands=ANY, arity=3),
    "Float": _unary(
        "(float)({0})", lambda x: np.asarray(x, np.float64), operands=ANY, result=FLOAT
    ),
    "Int": _unary(
        "(long)({0})", lambda x: np.asarray(x).astype(np.int64), operands=ANY, result=INT
    ),
    "Int32": _unary(
        "((long)(int)({0}))",
        lambda x: np.asarray(x).astype(np.int32).astype(np.int64),
        operands=(INT,),
    ),
    "Bool": _unary("({0} != 0)", lambda x: np.asarray(x) != 0, operands=ANY, result=BOOL),
    "Within": _binary("within({0}, {1})", _within, operands=(INT,)),
}
