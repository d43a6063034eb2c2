"""A kernel in LLVM's form: blocks of instructions over registers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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


ANYWHERE, LOCAL = (
    4,
    3,
)  # spaces of pointers that OpenCL C 2.0 and later pass to functions; of locals


def with_known_spaces(kernel: Function) -> Function:
    """Pointers to anywhere point where those that they come from do."""
    every = [each for block in kernel.blocks.values() for each in block.instructions]
    known = _spaces(every)
    blocks = {
        name: Block(name, [_known(each, known) for each in block.instructions])
        for name, block in kernel.blocks.items()
    }
    return replace(kernel, blocks=blocks)


def _spaces(every: Iterable[Instruction]) -> dict[str, int]:
    """Of registers that point anywhere, by what they are computed from."""
    todo = [each for each in every if each.type.kind == "ptr" and each.type.space == ANYWHERE]
    found: dict[str, int] = {}
    while left := [each for each in todo if each.result not in found]:
        for each in left:
            sources = {_space(value, found) for value in each.operands if value.type.kind == "ptr"}
            if sources - {ANYWHERE}:
                found[each.result] = min(sources - {ANYWHERE})
        if all(each.result not in found for each in left):
            raise ValueError(f"where {left[0].result} points is not known")
    return found


def _space(value: Value, known: dict[str, int]) -> int:
    """The only variables with addresses that are constant lie in local memory."""
    if value.type.space != ANYWHERE:
        return value.type.space
    return LOCAL if value.constant is not None else known.get(value.register, ANYWHERE)


def _known(each: Instruction, known: dict[str, int]) -> Instruction:
    operands = tuple(
        replace(value, type=replace(value.type, space=_space(value, known)))
        if value.type.kind == "ptr"
        else value
        for value in each.operands
    )
    space = known.get(each.result, each.type.space)
    kind = replace(each.type, space=space) if each.type.kind == "ptr" else each.type
    return replace(each, type=kind, operands=operands)
