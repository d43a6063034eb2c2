"""What a product of a tile's rows ends with: hidden units, as an expression over its sums.

Biases, and gates that are given, belong to indices: the ticket says which index a column has. A
column without a record is 0: weights of 0 come after it, and what index 0 has may be infinite in
halves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from opencl_kernels.map.indexed import Operand
from opencl_kernels.matmul.epilogue import SUM, UP
from opencl_kernels.records.gathered import HEAD
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.weights.records import Tabled
from toolkit.plan.schema import Ref

UNITS = {"v * Sigmoid(v)": "silu", "Relu(v)": "relu"}  # that kernels know by name
TICKET: Ref = ("ticket",)
_V = re.compile(r"\bv\b")


@dataclass
class TileEnding:
    """The expression, "" where kernels know the unit or sums are all; and the memory it reads."""

    text: str = ""
    inputs: list[Operand] = field(default_factory=list)
    refs: dict[str, Ref] = field(default_factory=dict)

    def read(self, ref: Ref, operand: Operand) -> str:
        """The name of an input."""
        known = self.name_of(ref)
        if known is not None:
            return known
        name = f"a{len(self.inputs)}"
        self.inputs.append(operand)
        self.refs[name] = ref
        return name

    def index(self, tile: int) -> str:
        """Of the record that a column has; one without reads what index 0 has."""
        ticket = self.read(TICKET, Operand("i32", HEAD + 2 * tile))
        return f"Where(i1 < {ticket}[0], {ticket}[{HEAD + 1} + 2 * i1], 0)"

    def there(self, text: str) -> str:
        """What a column with a record is; 0 without, where anything is read by index."""
        ticket = self.name_of(TICKET)
        return text if ticket is None else f"Where(i1 < {ticket}[0], {text}, 0.0)"

    def name_of(self, ref: Ref) -> str | None:
        """Of an input, if it is read."""
        return next((name for name, each in self.refs.items() if each == ref), None)


def tile_ending(b: PhaseBuilder, tabled: Tabled, tile: int, gates: Ref | None) -> TileEnding:
    """Of a product of ups, or of gates and ups; `gates`: what they are, where they are given."""
    ffn, found = tabled.ffn, TileEnding()

    def biased(text: str, gate: bool) -> str:
        columns = ffn.gate if gate else ffn.up
        if columns is None or columns.bias is None:
            return text
        bias = b.weights.vector(columns.bias, columns.first, columns.width)
        name = found.read(bias, Operand("f32", columns.width))
        return f"({text} + {name}[{found.index(tile)}])"

    if ffn.gate is None or gates is not None:
        hidden = applied(ffn.up_act, biased(SUM, gate=False))
        if gates is not None:
            name = found.read(gates, Operand("f32", b.elements(gates)))
            given = f"{name}[i0 * {ffn.width} + {found.index(tile)}]"
            hidden = f"{applied(ffn.act, given)} * {hidden}"
        found.text = "" if hidden == f"({SUM})" else found.there(hidden)
        return found
    gate, up = biased(SUM, gate=True), biased(UP, gate=False)
    known = ffn.act in UNITS and ffn.up_act == SUM and (gate, up) == (SUM, UP)
    hidden = f"{applied(ffn.act, gate)} * {applied(ffn.up_act, up)}"
    found.text = "" if known else found.there(hidden)
    return found


def applied(activation: str, value: str) -> str:
    """An expression over v, of another one."""
    return f"({_V.sub(lambda _: value, activation)})"
