"""What families share that read their inputs by index expressions: axes, inputs, coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy

from opencl_kernels.case import Case, Defines, Size, c_expression
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument
from opencl_kernels.map.expression import NAMES, Node, parsed
from opencl_kernels.map.functions import FLOAT

MAX_INPUTS = 8
_read = lru_cache(4096)(parsed)

# What cases are written with
SEQ = sympy.Symbol("seq", integer=True, nonnegative=True)
PAST = sympy.Symbol("past", integer=True, nonnegative=True)


@dataclass(frozen=True)
class Operand:
    """An input: its type and its elements."""

    dtype: str
    size: Size


def floats(*sizes: Size) -> tuple[Operand, ...]:
    """Inputs of floats."""
    return tuple(Operand("f32", size) for size in sizes)


@dataclass(frozen=True, kw_only=True)
class Reading(Case):
    """Inputs a0, a1 …, whose elements expressions read."""

    inputs: tuple[Operand, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        if len(self.inputs) > MAX_INPUTS:
            raise ValueError(f"there may be up to {MAX_INPUTS} inputs")

    def read(self, text: str, *names: str, kind: str = FLOAT) -> Node:
        """An expression over the inputs and the coordinates; `names`: what it knows besides."""
        return _read(text, tuple(each.dtype for each in self.inputs), names, kind)

    def at_numbers(self, size: Size) -> Any:
        """A size where the symbols have values."""
        symbols = sympy.sympify(size).free_symbols
        return sympy.sympify(size).xreplace(
            {s: sympy.sympify(getattr(self.symbols, s.name)) for s in symbols}
        )

    def arguments(self) -> tuple[Argument, ...]:
        """The inputs a0, a1 …"""
        return tuple(
            Argument(f"a{j}", each.dtype, size, "in", random=random_of(each.dtype, size))
            for j, each in enumerate(self.inputs)
            for size in [(self.at_numbers(each.size),)]
        )

    def known(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """What expressions read, in numpy: symbols and inputs."""
        at = {name: np.asarray(getattr(self.symbols, name)) for name in NAMES}
        start = np.array(self.symbols.start or [0] * self.B)
        arrays = {name: _wide(array) for name, array in inputs.items() if name.startswith("a")}
        return at | {"start": start} | arrays

    def operand_defines(self) -> Defines:
        """INPUTS and their types, as inputs.clh reads them."""
        types = {f"A{j}_TYPE": each.dtype for j, each in enumerate(self.inputs)}
        return {"INPUTS": len(self.inputs), **types}


@dataclass(frozen=True, kw_only=True)
class Indexed(Reading):
    """Coordinates i0 < axes[0], i1 < axes[1] …, at which elements of inputs are read."""

    axes: tuple[Size, ...]
    y: str = "f32"

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        if not self.axes:
            raise ValueError("there must be an axis")

    def numbers(self) -> list[int]:
        """The axes where the symbols have values."""
        return [int(self.at_numbers(size)) for size in self.axes]

    def known(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """And the coordinates, as open grids."""
        grids = np.indices(self.numbers(), sparse=True)
        return {f"i{k}": grid for k, grid in enumerate(grids)} | super().known(inputs)

    def operand_defines(self) -> Defines:
        """And the type of y."""
        return {**super().operand_defines(), "Y_TYPE": self.y}


def random_of(dtype: str, shape: tuple[Any, ...]) -> Callable[[np.random.Generator], Array] | None:
    """Random values for tests: truth values, and whole numbers on both sides of zero."""
    if dtype == "u8":
        return lambda rng: rng.integers(0, 2, shape)
    return (lambda rng: rng.integers(-9, 10, shape)) if dtype in ("i32", "i64") else None


def _wide(array: Array) -> Array:
    flat = array.reshape(-1)
    kinds = {"f": np.float64, "i": np.int64, "u": np.bool_}
    return flat.astype(kinds[flat.dtype.kind])


def coordinates(axes: tuple[Size, ...], first: int = 0, place: str = "r") -> str:
    """C that finds the coordinates of these axes, named from i`first` on, at the r-th of them."""
    text, inner = list[str](), sympy.Integer(1)
    for k in reversed(range(len(axes))):
        outer = place if inner == 1 else f"{place} / {c_expression(inner)}"
        wrapped = f"{outer} % {c_expression(axes[k])}" if k else outer
        text.append(f"const int i{first + k} = {wrapped};")
        inner *= axes[k]
    return " ".join(reversed(text))
