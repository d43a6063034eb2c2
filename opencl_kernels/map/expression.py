"""The language of a map: what an element of the output is, as text that a plan keeps.

    a0[96*i1 + i2] * Sigmoid(a1[i2]) + 0.5

A subset of Python's expressions: coordinates i0, i1 …, symbols seq, past, rows, text_length,
start[b], elements of inputs aN[index], numbers (an integer is one, 1.0 is a float), + - * on
numbers, // and % on indices that are not negative, comparisons, and the functions of SCALAR_OPS. It
is checked when it is read, and then written as C or computed by numpy.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from opencl_kernels.case import c_float
from opencl_kernels.map.functions import BOOL, FLOAT, INT, SCALAR_OPS

KIND_OF = {"f32": FLOAT, "f16": FLOAT, "i32": INT, "i64": INT, "u8": BOOL}  # of stored elements
SIGNS: dict[type, str] = {
    **{
        ast.Add: "Add",
        ast.Sub: "Sub",
        ast.Mult: "Mul",
        ast.Div: "Div",
        ast.Lt: "Less",
        ast.LtE: "LessOrEqual",
    },
    **{ast.Gt: "Greater", ast.GtE: "GreaterOrEqual", ast.Eq: "Equal"},
}
DIVISIONS: dict[type, str] = {ast.FloorDiv: "/", ast.Mod: "%"}
NAMES = ("seq", "past", "rows", "text_length")  # of symbols
MOST_NAMED = 64  # intermediate results that a kernel gives a name


@dataclass(frozen=True)
class Node:
    """A part of an expression: its kind, its text, and either C over its parts or a leaf."""

    op: str  # of SCALAR_OPS, or "number", "name", "start", "load", "/", "%"
    kind: str
    text: str  # as it was written: equal texts are equal parts
    parts: tuple[Node, ...] = ()
    value: Any = None  # of a leaf


def parsed(text: str, dtypes: Sequence[str], names: Sequence[str] = (), kind: str = FLOAT) -> Node:
    """Read an expression over inputs of these types; ValueError where it is none.

    names  of numbers of one `kind` that it may use besides, as they are called in C
    """
    try:
        return _Reader(tuple(dtypes), tuple(names), kind).read(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError) as error:
        raise ValueError(f"{text[:80]!r} is no expression: {error}") from None


@dataclass(frozen=True)
class _Reader:
    dtypes: tuple[str, ...]
    names: tuple[str, ...]
    kind: str  # of the names

    def read(self, tree: ast.expr) -> Node:
        made = self._read(tree)
        if made is None:
            raise ValueError(f"{ast.unparse(tree)!r} has no meaning in an expression")
        return made

    def _read(self, tree: ast.expr) -> Node | None:
        text = ast.unparse(tree)
        match tree:
            case ast.Constant(value=bool() | int() | float() as value):
                kinds = {bool: BOOL, int: INT, float: FLOAT}
                return Node("number", kinds[type(value)], text, value=value)
            case ast.Name(id="inf" | "nan" as name):
                return Node("number", FLOAT, text, value=float(name))
            case ast.Name(id=name) if name in NAMES or re.fullmatch(r"i\d", name):
                return Node("name", INT, text, value=name)
            case ast.Name(id=name) if name in self.names:
                return Node("name", self.kind, text, value=name)
            case ast.UnaryOp(op=ast.USub(), operand=of):
                part = self.read(of)
                if part.op == "number" and part.kind != BOOL:
                    return Node("number", part.kind, text, value=-part.value)
                return self._applied("Neg", [part], text)
            case ast.Subscript(value=ast.Name(id=name), slice=place):
                return self._element(name, self.read(place), text)
            case (
                ast.BinOp(left=left, op=op, right=right)
                | ast.Compare(left=left, ops=[op], comparators=[right])
            ):
                return self._joined(type(op), [self.read(left), self.read(right)], text)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._applied(name, [self.read(each) for each in args], text)
        return None

    def _element(self, name: str, place: Node, text: str) -> Node | None:
        if place.kind != INT:
            return None
        if name == "start":
            return Node("start", INT, text, (place,))
        number = int(name[1:]) if re.fullmatch(r"a\d", name) else len(self.dtypes)
        if number >= len(self.dtypes):
            return None
        return Node("load", KIND_OF[self.dtypes[number]], text, (place,), number)

    def _joined(self, sign: type, parts: list[Node], text: str) -> Node | None:
        if sign in DIVISIONS and all(part.kind == INT for part in parts):
            return Node(DIVISIONS[sign], INT, text, tuple(parts))
        return self._applied(SIGNS.get(sign, ""), parts, text)

    def _applied(self, name: str, parts: list[Node], text: str) -> Node | None:
        op = SCALAR_OPS.get(name)
        if op is None or len(parts) != op.arity:
            return None
        condition, of = (parts[:1], parts[1:]) if name == "Where" else ([], parts)
        alike = len({part.kind for part in of}) == 1 and of[0].kind in op.operands
        if not alike or any(part.kind != BOOL for part in condition):
            return None
        return Node(name, op.result or of[-1].kind, text, tuple(parts))


@dataclass(frozen=True)
class Source:
    """C of an expression: statements that name what is used often, and the value."""

    lets: str
    value: str


def in_c(root: Node, prefix: str = "t") -> Source:
    """The expression in C over A0(index) …, START(b), SEQ, PAST, ROWS and the coordinates.

    What Where chooses is read only where it is chosen: it gets no name outside.

    prefix  of names for what is used often; "": nothing gets one
    """
    return Writer(root).source(prefix)


@dataclass
class Writer:
    """Writes an expression in C."""

    root: Node

    def source(self, prefix: str) -> Source:
        """All of it."""
        lets, names = list[str](), dict[str, str]()
        for node in self.shared() if prefix else ():
            text = self.c(node, names)
            names[node.text] = f"{prefix}{len(names)}"
            lets.append(f"const {self.c_type(node)} {names[node.text]} = {text};")
        return Source(" ".join(lets), self.c(self.root, names))

    def shared(self) -> list[Node]:
        """Parts that are computed in any case and used more than once, operands first."""
        order, often = dict[str, Node](), Counter[str]()

        def visit(node: Node) -> None:
            often[node.text] += 1
            if often[node.text] > 1:
                return
            for part in node.parts[:1] if node.op == "Where" else node.parts:
                visit(part)
            order[node.text] = node

        visit(self.root)
        shared = [n for n in order.values() if often[n.text] > 1 and n.parts and n is not self.root]
        return shared[:MOST_NAMED]

    def c(self, node: Node, names: Mapping[str, str]) -> str:
        """A part; `names`: what is named already, by its text."""
        if node.text in names:
            return names[node.text]
        if node.op == "number":
            return _c_number(node)
        if node.op == "name":
            return node.value.upper() if node.value in NAMES else str(node.value)
        parts = [self.c(part, names) for part in node.parts]
        if node.op in ("load", "start"):
            return f"{'START' if node.op == 'start' else f'A{node.value}'}({parts[0]})"
        if node.op in DIVISIONS.values():
            return f"({parts[0]} {node.op} {parts[1]})"
        return SCALAR_OPS[node.op].text(node.parts[-1].kind).format(*parts)

    def c_type(self, node: Node) -> str:
        """The type that a named part has."""
        return c_type(node)


def c_type(node: Node) -> str:
    """The type of an expression in C."""
    if node.kind == FLOAT:
        return "float"
    return "long" if node.kind == INT and _is_wide(node) else "int"


def _is_wide(node: Node) -> bool:
    """Whether an integer has 64 bits: what comes from the data; coordinates and symbols have 32."""
    large = node.op == "number" and abs(node.value) >= 2**31
    return large or node.op in ("load", "Int") or any(map(_is_wide, node.parts))


def _c_number(node: Node) -> str:
    if node.kind == FLOAT:
        return c_float(node.value)
    text = str(int(node.value)) + ("L" if abs(node.value) >= 2**31 else "")
    return f"({text})" if node.value < 0 else text


def evaluate(node: Node, known: Mapping[str, Any]) -> Any:
    """The expression in numpy.

    known  coordinates and symbols by name, `start` and inputs a0 … as flat arrays. An element that
           Where does not choose may lie anywhere: its index is clipped.
    """
    if node.op == "number":
        return np.float64(node.value) if node.kind == FLOAT else np.asarray(node.value)
    if node.op == "name":
        return known[node.value]
    parts = [evaluate(part, known) for part in node.parts]
    if node.op in ("load", "start"):
        array = known["start" if node.op == "start" else f"a{node.value}"]
        return array[np.clip(parts[0], 0, len(array) - 1)]
    if node.op in DIVISIONS.values():
        return np.floor_divide(*parts) if node.op == "/" else np.mod(*parts)
    return SCALAR_OPS[node.op].numpy(*parts)


def loads(node: Node) -> Iterator[int]:
    """The numbers of the inputs that are read."""
    if node.op == "load":
        yield node.value
    for part in node.parts:
        yield from loads(part)


def places(node: Node) -> Iterator[int]:
    """The numbers of the coordinates that are used."""
    if node.op == "name" and str(node.value).startswith("i"):
        yield int(node.value[1:])
    for part in node.parts:
        yield from places(part)


@lru_cache(4096)
def _counted(node: Node) -> int:
    return int(node.op in SCALAR_OPS and SCALAR_OPS[node.op].costs) + sum(map(_counted, node.parts))


def operations(node: Node) -> int:
    """How many functions are computed for an element, where each is written."""
    return _counted(node)
