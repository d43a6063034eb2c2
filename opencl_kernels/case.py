"""A case is what a kernel computes: its sizes, how its operands are stored, its options.

Each family has a frozen dataclass of its own. Letters of dimensions: B texts of a batch, M rows of
an activation, N and K outputs and reduction length of a weight, D model width, F width of a gated
unit, H heads, G KV heads, K head width (in attention), R rotary width, V vocabulary, C KV capacity,
CTX rows of the rotary tables. Lower case: storage types ("x", "y", "kv": "f32" or "f16"; "w": a
`Stored`). A size is a number, or a sympy expression over a phase's symbols.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import sympy

from opencl_kernels.formats import Array

Size: TypeAlias = int | sympy.Expr
Defines = dict[str, int | float | str]


@dataclass(frozen=True)
class At:
    """What the symbols of a language model are: numbers outside a plan, expressions inside."""

    seq: Any = 1  # new tokens of each text
    past: Any = 0  # tokens in the KV states
    rows: Any = 1  # of the new tokens, how many at the end are wanted
    start: tuple[int, ...] = ()  # first token of each text that is no padding
    text_length: Any = 0  # how long a text becomes, where that is known


@dataclass(frozen=True, kw_only=True)
class Case:
    """What every case has."""

    B: int = 1
    last_rows: bool = False  # M counts the last `rows` of each text's `seq` tokens
    at: At | None = field(default=None, compare=False, repr=False)

    @property
    def symbols(self) -> At:
        """The symbols' values, or what they are where nothing is said."""
        return self.at or At()


def spelled(case: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a case, or of a value in it, that differ from their defaults."""
    for each in fields(case):
        value = getattr(case, each.name)
        if each.name != "at" and (each.default is not value and each.default != value):
            yield each.name, value


def as_json(case: Any) -> dict[str, Any]:
    """What a plan keeps of a case: `spelled`, values in it as objects of their own."""
    return {name: _plain(value) for name, value in spelled(case)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return as_json(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def case_id(case: Case) -> str:
    """A name of the case that can be pasted to `pytest -k`."""
    at = list(spelled(case.at)) if case.at else []
    words = (f"{name}{_flat(value)}" for name, value in [*spelled(case), *at])
    return "_".join(re.sub(r"\W+", "", word) for word in words)


def _flat(value: Any) -> str:
    if is_dataclass(value):
        return "".join(_flat(each) for _, each in spelled(value))
    return "".join(map(_flat, value)) if isinstance(value, tuple) else str(value)


def c_expression(size: Any) -> str:
    """A size as C over the symbols of a program's header, e.g. "(2*SEQ)"."""
    size = sympy.sympify(size)
    names = {s: sympy.Symbol(s.name.upper()) for s in size.free_symbols}
    text = str(size.xreplace(names))
    if "**" in text:  # C has no powers
        text = re.sub(r"(\w+)\*\*(\d+)", _as_product, str(sympy.expand(size.xreplace(names))))
    return f"({text})"


def _as_product(power: re.Match[str]) -> str:
    return "*".join([power[1]] * int(power[2]))


def c_float(value: float) -> str:
    """A float of OpenCL C; a literal without the suffix would be a double."""
    with np.errstate(over="ignore"):  # what is beyond all floats is infinite
        number = np.float32(value)
    if np.isfinite(number):
        return f"{float(value)!r}f"
    return "NAN" if np.isnan(number) else f"{'-' if number < 0 else ''}INFINITY"


class Slots(Protocol):
    """A symbol as kernels see it: an int of the buffer `sym`, or `length` of them from there on."""

    @property
    def name(self) -> str:
        """As sizes call it; kernels read it in upper case."""

    @property
    def slot(self) -> int:
        """Its first place in `sym`."""

    @property
    def length(self) -> int | None:
        """Of a vector, which has a value for each text; a scalar has none."""


class Slot(NamedTuple):
    """The slots of a symbol outside a plan."""

    name: str
    slot: int
    length: int | None = None


def symbols_of_texts(batch: int, text_length: bool = False) -> tuple[Slot, ...]:
    """The symbols that cases are written in: those of a language model (`At` has their meaning).

    text_length  whether it is one of them, as in models that depend on it
    """
    usual = Slot("seq", 0), Slot("past", 1), Slot("rows", 2), Slot("start", 3, batch)
    return (*usual, Slot("text_length", 3 + batch)) if text_length else usual


def symbol_header(symbols: Iterable[Slots]) -> dict[str, str]:
    """Macros by which kernels read symbols from `sym`: SEQ, and of a vector START(b) for text b."""
    return dict(map(_symbol_macro, symbols))


def _symbol_macro(symbol: Slots) -> tuple[str, str]:
    name = symbol.name.upper()
    if symbol.length is None:
        return name, f"sym[{symbol.slot}]"
    return f"{name}(b)", f"sym[{symbol.slot}]" if symbol.length == 1 else f"sym[{symbol.slot}+(b)]"


def symbols(case: Case) -> Array:
    """The buffer `sym` of a case at numbers: seq, past, rows, start of each text, text_length."""
    at = case.symbols
    start = list(at.start) or [0] * case.B
    return np.array([at.seq, at.past, at.rows, *start, at.text_length], np.int32)


def row_count(case: Any) -> str:
    """M as a C expression, for launches outside a plan: of the symbols where the case has any."""
    if case.at is None:
        return str(case.M)
    return f"({'ROWS' if case.last_rows else 'SEQ'}*{case.B})"


def ceil_div(a: Any, b: int) -> Any:
    """a / b rounded up, for ints and sympy expressions."""
    return (a + b - 1) // b
