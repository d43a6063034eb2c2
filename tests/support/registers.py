"""How many registers a kernel's loops carry: what no compiler can do without, but by memory.

Of LLVM's values those that live when a turn of a loop begins: it uses them, or what follows it
does. A value of 32 bits takes a register, a smaller one too; what costs nothing, such as a part of
a vector, takes none.
"""

from __future__ import annotations

from collections.abc import Mapping

from opencl_kernels import Kernel
from opencl_kernels.case import Case
from opencl_kernels.kernel import Knobs
from toolkit.bench.counting.clang import kernel_ir
from toolkit.bench.counting.ir import Block, with_known_spaces
from toolkit.bench.counting.ir_types import Type
from toolkit.bench.counting.order import loops
from toolkit.bench.counting.prices import free_results
from toolkit.bench.counting.reader import read_kernel

Values = set[str]


def carried(kernel: Kernel, case: Case, knobs: Knobs) -> int:
    """Registers of a work-item, by the loop that carries most."""
    found = with_known_spaces(read_kernel(kernel_ir(kernel, case, knobs), kernel.name))
    blocks, free = found.blocks, free_results(found)
    types = {
        each.result: each.type
        for block in blocks.values()
        for each in block.instructions
        if each.result
    }
    alive = _alive_at_entries(blocks, {*types})
    heads = loops({name: block.successors for name, block in blocks.items()})
    return max(sum(_registers(types[name]) for name in alive[head] - free) for head in heads)


def _registers(kind: Type) -> int:
    bits = 64 if kind.kind == "ptr" else kind.bits * kind.width
    return -(-bits // 32)


def _alive_at_entries(blocks: Mapping[str, Block], results: Values) -> dict[str, Values]:
    """Of each block the values that live where it begins, its own phis among them."""
    alive: dict[str, Values] = {name: set() for name in blocks}
    changed = True
    while changed:
        changed = False
        for name in reversed(list(blocks)):
            found = _before(blocks, name, alive) & results
            changed, alive[name] = changed or found != alive[name], found
    return alive


def _before(blocks: Mapping[str, Block], name: str, alive: Mapping[str, Values]) -> Values:
    block = blocks[name]
    found: Values = set()
    for each in block.successors:
        found |= alive[each] - _phis(blocks[each]) | _taken(blocks[each], block.label)
    for instruction in reversed(block.instructions):
        found.discard(instruction.result)
        if instruction.op != "phi":
            found |= {value.register for value in instruction.operands}
    return found | _phis(block)


def _phis(block: Block) -> Values:
    return {each.result for each in block.instructions if each.op == "phi"}


def _taken(block: Block, source: str) -> Values:
    """What its phis take on the way from another block."""
    phis = (each for each in block.instructions if each.op == "phi" and source in each.more)
    return {each.operands[each.more.index(source)].register for each in phis}
