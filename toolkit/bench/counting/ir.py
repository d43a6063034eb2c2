"""A kernel in LLVM's form: blocks of instructions over registers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from opencl_kernels.formats import Array
from toolkit.bench.counting.ir_types import Type


@dataclass(frozen=True)
class Value:
    """An operand: a register by its name, or a constant of shape [1] or, of a vector, [1, n]."""

    type: Type
    register: str = ""
    constant: Array | None = None


@dataclass(frozen=True)
class Instruction:
    """One operation; what only some have stands in `more`."""

    op: str  # as LLVM names it, e.g. "fmul"
    type: Type  # of the result
    operands: tuple[Value, ...] = ()
    result: str = ""
    # icmp, fcmp: the predicate; call: the function; br, switch: labels; phi: where operands come
    # from; getelementptr: the type it steps over; shufflevector: its mask; alloca: a Type
    more: Any = None


AFTER = ".after"  # ends the name of a block's part behind a barrier


@dataclass
class Block:
    """Instructions that run one after the other; the last one leaves the block."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The name that phis know it by: that of all its parts."""
        return self.name.split(AFTER)[0]

    @property
    def successors(self) -> tuple[str, ...]:
        """Blocks that may follow."""
        last = self.instructions[-1]
        return () if last.op == "ret" else tuple(dict.fromkeys(last.more[-1]))


@dataclass(frozen=True)
class Function:
    """A kernel: its parameters, its blocks (the first is entered), what it takes of local memory.

    local_bytes  of a work-group, as declared
    """

    name: str
    parameters: tuple[str, ...]
    blocks: dict[str, Block]
    local_bytes: int
