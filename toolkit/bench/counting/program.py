"""A kernel made ready to run: blocks as lists of steps, and what each block costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from opencl_kernels.formats import Array
from toolkit.bench.counting.accesses import IMAGE, VECTOR, Step, access
from toolkit.bench.counting.functions import function
from toolkit.bench.counting.ir import Block, Function, Instruction, Value, with_known_spaces
from toolkit.bench.counting.items import Chosen, Items
from toolkit.bench.counting.memory import GLOBAL, LOCAL, PRIVATE, REGISTERS
from toolkit.bench.counting.operations import operation
from toolkit.bench.counting.order import block_order
from toolkit.bench.counting.prices import free_results, function_name, price

IDENTITY: Mapping[str, Callable[[Items, int], Array]] = {
    "get_local_id": lambda items, axis: items.local_id[axis],
    "get_group_id": lambda items, axis: items.group_id[axis],
    "get_global_id": lambda items, axis: (
        items.group_id[axis] * items.local_size[axis] + items.local_id[axis]
    ),
    "get_local_size": lambda items, axis: np.array([items.local_size[axis]]),
    "get_global_size": lambda items, axis: np.array([items.global_size[axis]]),
    "get_num_groups": lambda items, axis: np.array([items.group_counts[axis]]),
    "get_global_offset": lambda _, axis: np.zeros(1, np.int64),
}
OF_WAVES: Mapping[str, Callable[[Items], Array]] = {  # a sub-group is a wave
    "get_sub_group_id": lambda items: items.wave_of_group,
    "get_sub_group_local_id": lambda items: items.lane,
    "get_max_sub_group_size": lambda items: np.array([items.width]),
    "get_num_sub_groups": lambda items: items.wave_of_group[-1:] + 1,
}
Moves = list[tuple[str, Value]]  # what phis take on the way from one block to another


@dataclass(frozen=True)
class Cost:
    """What a run of a block costs each item."""

    instructions: int = 0
    multiply_adds: int = 0
    loads: Mapping[int, int] | None = None  # by space


@dataclass(frozen=True)
class Part:
    """A block; the places of those that follow it, and how phis change on the way there."""

    steps: list[Step]
    cost: Cost
    last: Instruction
    following: dict[str, tuple[int, Moves]]
    waits: bool  # at a barrier


@dataclass(frozen=True)
class Program:
    """All blocks in the order of block_order, and the bytes of a work-item's private memory."""

    function: Function
    parts: list[Part]
    private_bytes: int


def program_of(kernel: Function) -> Program:
    """Make a kernel ready; raises ValueError for what is not known."""
    kernel = with_known_spaces(kernel)
    order = block_order(kernel.blocks)
    free = free_results(kernel)
    private = _private(kernel)
    places = {name: i for i, name in enumerate(order)}
    parts = []
    for block in (kernel.blocks[name] for name in order):
        inner = [each for each in block.instructions[:-1] if each.op != "phi"]
        following = {
            name: (places[name], _moves(kernel.blocks[name], block)) for name in block.successors
        }
        steps = [_step(each, private) for each in inner]
        last = block.instructions[-1]
        parts.append(Part(steps, _cost(block, free), last, following, last.op == "barrier"))
    return Program(kernel, parts, private[""])


def _private(kernel: Function) -> dict[str, int]:
    """Where a work-item's variables lie; "": where they end."""
    found, end = {}, 0
    for block in kernel.blocks.values():
        for each in block.instructions:
            if each.op == "alloca":
                found[each.result] = -(-end // 16) * 16
                end = found[each.result] + each.more.size
    return {**found, "": end}


def _moves(block: Block, source: Block) -> Moves:
    phis = (each for each in block.instructions if each.op == "phi")
    return [
        (each.result, each.operands[each.more.index(source.label)])
        for each in phis
        if source.label in each.more
    ]


def _cost(block: Block, free: set[str]) -> Cost:
    loads = dict.fromkeys((PRIVATE, GLOBAL, LOCAL), 0)
    instructions = multiply_adds = 0
    for each in block.instructions:
        instructions += 0 if each.result in free else price(each)
        name = function_name(str(each.more)) if each.op == "call" else ""
        if name in ("fmuladd", "fma", "mad"):
            multiply_adds += each.type.width
        elif each.op == "load":
            loads[each.operands[0].type.space] += -(-each.type.size // REGISTERS)
        elif name == IMAGE:
            loads[each.operands[0].type.space] += 1
        elif (found := VECTOR.fullmatch(name)) and found[1] == "load":
            size = each.type.width * (2 if found[2] else each.type.bits // 8)
            loads[each.operands[1].type.space] += -(-size // REGISTERS)
    return Cost(instructions, multiply_adds, loads)


def _step(each: Instruction, private: Mapping[str, int]) -> Step:
    if each.op == "alloca":
        at = np.array([private[each.result]])
        return lambda items, chosen: items.write(each.result, at, chosen)
    if found := access(each):
        return found
    name = function_name(str(each.more)) if each.op == "call" else ""
    if name in IDENTITY:
        return _identity(each, IDENTITY[name])
    if name in OF_WAVES:
        return _of_wave(each, OF_WAVES[name])
    if name == "sub_group_shuffle_xor":
        return _exchange(each)
    compute = function(each) if each.op == "call" else operation(each)
    if compute is None:
        raise ValueError(f"{name or each.op} is not known")
    dtype = each.type.dtype

    def run(items: Items, chosen: Chosen) -> None:
        operands = (items.read(value, chosen) for value in each.operands)
        items.write(each.result, compute(*operands).astype(dtype, copy=False), chosen)

    return run


def _identity(each: Instruction, found: Callable[[Items, int], Array]) -> Step:
    axis = each.operands[0].constant
    assert axis is not None

    def run(items: Items, chosen: Chosen) -> None:
        value = found(items, int(axis[0])) if axis[0] < len(items.local_size) else np.zeros(1)
        some = value if len(value) == 1 or chosen is None else value[chosen]
        items.write(each.result, some.astype(np.int64), chosen)

    return run


def _of_wave(each: Instruction, found: Callable[[Items], Array]) -> Step:
    def run(items: Items, chosen: Chosen) -> None:
        value = found(items).astype(each.type.dtype)
        some = value if len(value) == 1 or chosen is None else value[chosen]
        items.write(each.result, some, chosen)

    return run


def _exchange(each: Instruction) -> Step:
    """What another item of the wave has; of one that doesn't run, whatever it had."""
    value, other = each.operands

    def run(items: Items, chosen: Chosen) -> None:
        who = items.numbers(chosen)
        lane = items.lane[who]
        partner = who - lane + (lane ^ items.read(other, chosen))
        held = items.read_all(value, None)
        items.write(each.result, held[np.minimum(partner, items.count - 1)], chosen)

    return run
