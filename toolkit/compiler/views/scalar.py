"""What a View gives at a coordinate: a tree of functions over loads, numbers and indices.

`apply` (simplify.py) makes functions of them. A tree's `text` is in the language of maps
(opencl_kernels.map.expression).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from opencl_kernels.map.expression import KIND_OF
from opencl_kernels.map.functions import BOOL, FLOAT, INT, SCALAR_OPS
from toolkit.compiler.views.poly import (
    Names,
    Poly,
    poly,
)

INFIX = {
    **{"Add": "+", "Sub": "-", "Mul": "*", "Less": "<", "LessOrEqual": "<=", "Greater": ">"},
    **{"GreaterOrEqual": ">=", "Equal": "=="},
}


@dataclass(frozen=True)
class Number:
    """A float or a truth value; whole numbers are an `Index`."""

    value: float | bool

    @property
    def kind(self) -> str:
        """Of the element."""
        return BOOL if isinstance(self.value, bool) else FLOAT

    def text(self, _: Names) -> str:
        """As an expression."""
        return repr(self.value)

    cost = 0


@dataclass(frozen=True)
class Index:
    """An integer that is a polynomial of coordinates and symbols."""

    poly: Poly
    kind = INT
    cost = 0

    def text(self, names: Names) -> str:
        """As an expression."""
        return self.poly.enclosed(names)


@dataclass(frozen=True)
class Load:
    """An element of memory; `source` is hashable and has a `dtype`."""

    source: Any
    at: Poly
    cost = 0

    @property
    def kind(self) -> str:
        """Of the element."""
        return KIND_OF[self.source.dtype]

    def text(self, names: Names) -> str:
        """As an expression."""
        return f"{names(self.source)}[{self.at.text(names)}]"


@dataclass(frozen=True)
class Start:
    """The first token of a text that is no padding."""

    text_of_batch: Poly
    kind = INT
    cost = 0

    def text(self, names: Names) -> str:
        """As an expression."""
        return f"start[{self.text_of_batch.text(names)}]"


@dataclass(frozen=True)
class Local:
    """A float that a kernel calls so, as `s` of a row of scores."""

    name: str
    kind = FLOAT
    cost = 0

    def text(self, _: Names) -> str:
        """As an expression."""
        return self.name


@dataclass(frozen=True)
class Apply:
    """A function of SCALAR_OPS."""

    op: str
    operands: tuple[Scalar, ...]

    @property
    def kind(self) -> str:
        """Of the result."""
        return SCALAR_OPS[self.op].result or self.operands[-1].kind

    @cached_property
    def cost(self) -> int:
        """How many functions are computed."""
        return int(SCALAR_OPS[self.op].costs) + sum(operand.cost for operand in self.operands)

    def text(self, names: Names) -> str:
        """As an expression."""
        operands = [operand.text(names) for operand in self.operands]
        if self.op in INFIX:
            return f"({operands[0]} {INFIX[self.op]} {operands[1]})"
        return f"{self.op}({', '.join(operands)})"


Scalar: TypeAlias = Number | Index | Load | Start | Local | Apply


def number(value: Any) -> Scalar:
    """A constant of its own kind."""
    if isinstance(value, bool | np.bool_):
        return Number(bool(value))
    return Index(poly(int(value))) if isinstance(value, int | np.integer) else Number(float(value))
