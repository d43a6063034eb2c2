"""An expression in C for 16 neighbours at once, where that is the same as one after the other.

Compilers make poor vectors of loops around exp, tanh or erf; their own functions of float16 are
fast. A part is wide where it differs between the neighbours; the others stay scalars.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from opencl_kernels.map.expression import Node, Source, Writer, c_type, loads
from opencl_kernels.map.functions import FLOAT, INT, SCALAR_OPS

SCALAR_ONLY = ("Float", "Int", "Bool", "Within", "Mod", "Fmod")
LOGIC = ("And", "Or", "Xor")


def in_c16(root: Node, axis: str, wide: Collection[str]) -> Source | None:
    """The expression at 16 values of the coordinate `axis`, from the one of this name on.

    None where it has no such form. `wide`: names of floats that are float16.
    """
    lanes = _Lanes(root, axis, wide)
    return lanes.source("t") if lanes.possible(root) else None


@dataclass
class _Lanes(Writer):
    axis: str
    names: Collection[str]

    def is_wide(self, node: Node) -> bool:
        own = node.op == "name" and (node.value == self.axis or node.value in self.names)
        return own or any(map(self.is_wide, node.parts))

    def possible(self, node: Node) -> bool:
        """Whether all wide parts are floats and truth values that vectors have functions for."""
        if not self.is_wide(node):
            return True
        if node.op == "load":
            return node.kind == FLOAT and step(node.parts[0], self.axis) == 1
        if node.op == "name":
            return bool(node.value != self.axis)
        known = node.kind != INT and node.op in SCALAR_OPS and node.op not in SCALAR_ONLY
        if not known or (node.op in LOGIC and not all(map(self.is_wide, node.parts))):
            return False
        if node.op == "Where" and self.is_wide(node.parts[0]) and any(map(_reads, node.parts[1:])):
            return False  # both sides would be read
        return all(map(self.possible, node.parts))

    def c(self, node: Node, names: Mapping[str, str]) -> str:
        if node.text in names or not self.is_wide(node) or node.op == "name":
            return super().c(node, names)
        if node.op == "load":
            return f"A16({node.value}, {super().c(node.parts[0], names)})"
        parts = [self._widened(part, names) for part in node.parts]
        text = SCALAR_OPS[node.op].c.format(*parts)
        return text.replace("larger(", "larger16(").replace("smaller(", "smaller16(")

    def _widened(self, part: Node, names: Mapping[str, str]) -> str:
        text = self.c(part, names)
        return f"(float16)({text})" if part.kind == FLOAT and not self.is_wide(part) else text

    def c_type(self, node: Node) -> str:
        if not self.is_wide(node) or node.kind == INT:  # an index, of the first of 16
            return c_type(node)
        return "float16" if node.kind == FLOAT else "int16"


def _reads(node: Node) -> bool:
    return next(loads(node), None) is not None


def step(index: Node, axis: str) -> int | None:
    """By how much an index grows with a coordinate; None where that is not known."""
    if index.op == "name":
        return int(index.value == axis)
    parts = [step(part, axis) for part in index.parts]
    if not any(part != 0 for part in parts):
        return 0
    match index.op, parts:
        case "Add", [int(a), int(b)]:
            return a + b
        case "Sub", [int(a), int(b)]:
            return a - b
    return None
