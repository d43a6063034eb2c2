"""Types of LLVM IR: what they are, how they lie in memory, how text spells them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from toolkit.bench.counting.memory import GLOBAL

Kind = Literal["int", "float", "ptr", "void", "array", "struct"]
FLOATS = {"half": 16, "float": 32, "double": 64}
CONTAINERS = (8, 16, 32, 64)  # bits of numpy's integers


@dataclass(frozen=True)
class Type:
    """A scalar, a vector of them (`lanes`), an array of `count`, or a struct of `parts`."""

    kind: Kind
    bits: int = 0
    lanes: int = 0  # 0: no vector
    space: int = 0  # that a pointer points into
    count: int = 0
    parts: tuple[Type, ...] = ()

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of an element: integers are signed, of one bit bools; pointers are addresses."""
        if self.kind == "ptr":
            return np.dtype(np.int64)
        if self.kind == "float":
            return np.dtype(f"f{self.bits // 8}")
        if self.bits == 1:
            return np.dtype(np.bool_)
        return np.dtype(f"i{self.container // 8}")

    @property
    def container(self) -> int:
        """Bits of the smallest of numpy's integers that holds one."""
        return next(bits for bits in CONTAINERS if bits >= self.bits)

    @property
    def scalar(self) -> Type:
        """The element of a vector."""
        return Type(self.kind, self.bits, 0, self.space)

    @property
    def width(self) -> int:
        """Elements of a vector, 1 of a scalar."""
        return self.lanes or 1

    @property
    def size(self) -> int:
        """Bytes in memory; a vector of three takes the room of four."""
        if self.kind == "array":
            return self.count * self.parts[0].size
        if self.kind == "struct":
            end = self.offset(len(self.parts) - 1) + self.parts[-1].size
            return -(-end // self.alignment) * self.alignment
        return self._element_bytes * (4 if self.lanes == 3 else self.width)

    @property
    def alignment(self) -> int:
        """Bytes that its address is a multiple of."""
        return max(part.alignment for part in self.parts) if self.parts else self.size

    def offset(self, part: int) -> int:
        """Where a part of a struct begins."""
        at = 0
        for i, each in enumerate(self.parts[: part + 1]):
            at = -(-at // each.alignment) * each.alignment
            at += each.size if i < part else 0
        return at

    @property
    def _element_bytes(self) -> int:
        return 8 if self.kind == "ptr" else max(self.bits, 8) // 8


class Names(dict[str, Type]):
    """Types that a module gives names."""


TOKEN = re.compile(
    r"\s*(?:i(\d+)|(half|float|double)\b|(void)\b|(ptr)\b|(%[\w.\"]+)|(target\([^()]*\))|([<\[{]))"
)
SPACE = re.compile(r"\s*addrspace\((\d+)\)")
POINTER = re.compile(r"\s*(?:addrspace\((\d+)\))?\s*\*")
TIMES = re.compile(r"\s*(\d+)\s*x\s*")


def parse_type(text: str, at: int, names: Names) -> tuple[Type, int]:
    """The type that begins at a place of a text, and where it ends; raises where none does."""
    found = TOKEN.match(text, at)
    if not found:
        raise ValueError(f"no type: {text[at : at + 40]}")
    made, at = _plain(found, text, names)
    while pointer := POINTER.match(text, at):
        made, at = Type("ptr", 64, space=int(pointer[1] or 0)), pointer.end()
    return made, at


def _plain(found: re.Match[str], text: str, names: Names) -> tuple[Type, int]:
    bits, name, void, pointer, named, image, bracket = found.groups()
    at = found.end()
    if bits:
        return Type("int", int(bits)), at
    if name:
        return Type("float", FLOATS[name]), at
    if void:
        return Type("void"), at
    if pointer:
        space = SPACE.match(text, at)
        return Type("ptr", 64, space=int(space[1]) if space else 0), space.end() if space else at
    if named:
        return names[named], at
    if image:  # as Clang 17 and later have it; before, it's a pointer to what nobody knows
        return Type("ptr", 64, space=GLOBAL), at
    return _bracketed(bracket, text, at, names)


def _bracketed(bracket: str, text: str, at: int, names: Names) -> tuple[Type, int]:
    """Vectors, arrays, structs; a packed struct is none that OpenCL C's kernels have."""
    if bracket == "{":
        parts = []
        while text[at] != "}":
            part, at = parse_type(text, at, names)
            parts.append(part)
            at += len(re.match(r"\s*,?\s*", text[at:])[0])  # type: ignore[index]
        return Type("struct", parts=tuple(parts)), at + 1
    times = TIMES.match(text, at)
    if not times:
        raise ValueError(f"no type: {text[at - 1 : at + 40]}")
    element, at = parse_type(text, times.end(), names)
    if bracket == "[":
        return Type("array", count=int(times[1]), parts=(element,)), at + 1
    return Type(element.kind, element.bits, int(times[1]), element.space), at + 1
