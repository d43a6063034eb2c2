"""Reads LLVM's text from left to right: words, types, operands."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping

import numpy as np

from opencl_kernels.formats import Array
from toolkit.bench.counting.ir import Value
from toolkit.bench.counting.ir_types import Names, Type, parse_type

WORD = re.compile(r"\s*([\w.]+)")
NUMBER = re.compile(r"\s*(0x[HKLM]?[0-9A-Fa-f]+|-?\d+(?:\.\d+(?:e[+-]?\d+)?)?|true|false)")
EMPTY = re.compile(r"\s*(?:zeroinitializer|null)\b")
UNDEFINED = re.compile(r"\s*(?:undef|poison)\b")
NAME = re.compile(r'\s*%([\w.\-]+|"[^"]*")')
GLOBAL = re.compile(r'\s*@([\w.\-]+|"[^"]*")')
# Between an operand's type and the operand: noundef, align 4, captures(none) ...
ATTRIBUTES = re.compile(
    r"\s*(?:align \d+|(?!true\b|false\b|undef\b|poison\b|null\b|zeroinitializer\b|splat\b"
    r"|getelementptr\b|bitcast\b|addrspacecast\b)[a-z_]\w*(?:\([^()]*\))?)(?=\s)"
)


class Cursor:
    """A place in a line; `globals` are the addresses of a module's variables."""

    def __init__(self, text: str, names: Names, addresses: Mapping[str, int]) -> None:
        self.text, self.at, self.names, self.globals = text, 0, names, addresses
        self.undefined = 0  # how a constant that is undefined reads

    def match(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        """Step over what a pattern finds here."""
        found = re.compile(pattern).match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found

    def expect(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """The same; raises where it finds nothing."""
        if found := self.match(pattern):
            return found
        raise ValueError(f"cannot read {self.text[self.at : self.at + 40]!r} of {self.text!r}")

    def skip(self, words: str) -> None:
        """Step over any of these words."""
        while self.match(rf"\s*(?:{words})\b"):
            pass

    def type(self) -> Type:
        """A type."""
        found, self.at = parse_type(self.text, self.at, self.names)
        return found

    def typed(self) -> Value:
        """A type, attributes, and an operand of it."""
        kind = self.type()
        while self.match(ATTRIBUTES):
            pass
        return self.value(kind)

    def listed(self) -> Iterator[Value]:
        """Typed operands with commas in between."""
        yield self.typed()
        while self.match(r"\s*,(?=\s*[\w<\[{%])(?!\s*align\b)"):
            yield self.typed()

    def value(self, kind: Type) -> Value:
        """An operand of a known type."""
        if found := self.match(NAME):
            return Value(kind, register=found[1])
        return Value(kind, constant=self.constant(kind))

    def constant(self, kind: Type) -> Array:
        """[1], or of a vector [1, n]."""
        shape = (1, kind.lanes) if kind.lanes else (1,)
        if self.match(UNDEFINED):
            return np.full(shape, self.undefined, kind.dtype)
        if self.match(EMPTY):
            return np.zeros(shape, kind.dtype)
        if self.match(r"\s*splat\s*\("):
            found = np.broadcast_to(self.constant(self.type()), shape)
            self.expect(r"\s*\)")
            return found
        if kind.lanes:
            self.expect(r"\s*<")
            found = np.concatenate([each.constant for each in self.listed()])[None]
            self.expect(r"\s*>")
            return found
        if kind.kind == "ptr":
            return np.array([self._address()], np.int64)
        return np.array([number(self.expect(NUMBER)[1], kind)]).astype(kind.dtype)

    def _address(self) -> int:
        """Of a variable, or computed from one by a constant expression."""
        if found := self.match(GLOBAL):
            return self.globals[found[1]]
        if self.match(r"\s*(bitcast|addrspacecast)\s*\("):
            base = int(self.typed().constant[0])  # type: ignore[index]
            self.expect(r"\s*to\b")
            self.type()
        else:
            self.expect(r"\s*getelementptr(?:\s+[a-z]+(?:\([^()]*\))?)*\s*\(")
            stepped = self.type()
            self.expect(r"\s*,")
            base, *indices = (int(each.constant[0]) for each in self.listed())  # type: ignore[index]
            base += constant_offset(stepped, indices)
        self.expect(r"\s*\)")
        return base


def constant_offset(stepped: Type, indices: list[int]) -> int:
    """Bytes that a getelementptr with these indices steps over."""
    offset, kind = stepped.size * indices[0], stepped
    for index in indices[1:]:
        if kind.kind == "struct":
            offset, kind = offset + kind.offset(index), kind.parts[index]
        else:
            kind = kind.parts[0] if kind.parts else kind.scalar
            offset += kind.size * index
    return offset


def number(text: str, kind: Type) -> float | int | bool:
    """A literal: LLVM writes floats in decimal, or as the bits of a double or a half."""
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("0xH"):
        return float(np.array([int(text[3:], 16)], np.uint16).view(np.float16)[0])
    if text.startswith("0x"):
        return float(struct.unpack(">d", bytes.fromhex(text[2:].zfill(16)))[0])
    if kind.kind == "float":
        return float(text)
    low = int(text) % (1 << kind.bits)
    return low - (1 << kind.bits) if low >> (kind.bits - 1) else low
