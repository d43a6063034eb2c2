"""How many instructions a GPU makes of one of LLVM's, for one item.

Registers have 32 bits: a vector of floats costs its width, halves go by pairs, 64 bits take two
and carry. These prices are no GPU's own but what Adreno's and Mali's have in common: shifts, masks,
multiply-adds and conversions cost 1; what goes through the slower unit for special functions 4; a
division of integers, which no phone's GPU has, a routine. Moves between registers cost nothing, nor
do offsets that are constants: they are part of a load.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from toolkit.bench.counting.ir import Function, Instruction
from toolkit.bench.counting.ir_types import Type
from toolkit.bench.counting.memory import GLOBAL, REGISTERS
from toolkit.bench.counting.order import block_order

FREE = (  # with what only says how another instruction reads its operand
    *("bitcast", "fneg", "phi", "freeze", "alloca", "ret", "trunc", "zext", "barrier"),
    *("ptrtoint", "inttoptr", "addrspacecast", "extractelement", "insertelement"),
)
SPECIAL = 4  # a quarter of the rate
FUNCTIONS = {  # for each element
    **dict.fromkeys(("exp", "exp2", "log", "log2", "rsqrt", "sqrt", "sin", "cos"), SPECIAL),
    **dict.fromkeys(("native_exp", "native_exp2", "native_rsqrt", "native_recip"), SPECIAL),
    **{"tanh": 3 * SPECIAL, "erf": 20, "pow": 3 * SPECIAL},
    **dict.fromkeys(("min", "max", "fmin", "fmax", "fabs", "abs", "select", "rotate"), 1),
    **dict.fromkeys(("smin", "smax", "umin", "umax", "minnum", "maxnum"), 1),
    **dict.fromkeys(("ceil", "floor", "rint", "trunc", "popcount", "mul_hi", "fma"), 1),
    **dict.fromkeys(("clz", "ctlz", "fmuladd", "mad", "mad24", "mul24", "bitselect"), 1),
    **dict.fromkeys(("clamp", "isnan", "isinf", "sign"), 2),
}
IDENTITY = (
    *("get_local_id", "get_group_id", "get_global_id"),
    *("get_sub_group_id", "get_sub_group_local_id"),
)
OF_LAUNCH = (
    *("get_local_size", "get_global_size", "get_num_groups", "get_global_offset"),
    *("get_max_sub_group_size", "get_num_sub_groups"),
)
DIVISION = {32: 20, 64: 100}  # by a variable
BY_CONSTANT = 4  # a shift with a correction, or the high half of a product
FLOAT_DIVISION = SPECIAL + 4  # a reciprocal, and what makes it exact


def price(each: Instruction) -> int:
    """Of one instruction; loads and stores cost one for each 16 bytes, and their conversions."""
    if each.op in FREE:
        return 0
    if each.op == "call":
        return _of_call(each)
    if each.op in ("load", "store"):
        return _transfers(each.type.size if each.op == "load" else each.operands[0].type.size)
    if each.op in OTHERS:
        return OTHERS[each.op](each)
    return _registers(each.operands[0].type if each.op in ("icmp", "fcmp") else each.type)


def _registers(kind: Type) -> int:
    """32-bit registers of a value: halves and bytes lie packed."""
    bits = 32 if kind.bits == 1 else max(kind.bits, 16)
    return -(-bits * kind.width // 32)


def _transfers(size: int) -> int:
    return -(-size // REGISTERS)


def _division(each: Instruction) -> int:
    by_constant = each.operands[1].constant is not None
    bits = 64 if each.type.bits > 32 else 32
    return each.type.width * (BY_CONSTANT * bits // 32 if by_constant else DIVISION[bits])


def _product(each: Instruction) -> int:
    """64 bits: three products of 32 and a sum."""
    return each.type.width * (4 if each.type.bits > 32 else 1)


def _step(each: Instruction) -> int:
    """An index that varies is added: in global memory to 64 bits, a shift being part of it."""
    each_index = 2 if each.operands[0].type.space == GLOBAL else 1
    return each_index * sum(operand.constant is None for operand in each.operands[1:])


def _shuffle(each: Instruction) -> int:
    """Halves that change places are packed anew, but no two registers that come out alike."""
    mask = each.operands[2].constant
    if each.type.bits > 16 or each.type.kind != "float" or mask is None:
        return 0
    whole = [*map(int, mask.reshape(-1)), -1][: -(-mask.size // 2) * 2]
    pairs = set(zip(whole[::2], whole[1::2], strict=True))
    return sum(min(pair) >= 0 and (pair[1] != pair[0] + 1 or pair[0] % 2 > 0) for pair in pairs)


OTHERS: dict[str, Callable[[Instruction], int]] = {
    **dict.fromkeys(("sdiv", "udiv", "srem", "urem"), _division),
    **{"mul": _product, "getelementptr": _step, "shufflevector": _shuffle},
    "fdiv": lambda each: FLOAT_DIVISION * each.type.width,
    "sext": lambda each: each.type.width if each.type.bits > 32 else _registers(each.type),
    "fpext": lambda each: each.type.width,
    "fptrunc": lambda each: each.type.width,
    "br": lambda each: len(each.operands),  # one that depends on something
    "switch": lambda each: 2 * len(each.more[0]),
}


def free_results(kernel: Function) -> set[str]:
    """Registers that cost nothing, whatever makes them.

    What is the same in all of a launch is computed before it; a conversion takes either half of a
    register; a constant distance to another address is a part of the load.
    """
    made = {each.result: each for block in kernel.blocks.values() for each in block.instructions}
    users: dict[str, list[Instruction]] = {}
    for each in (each for block in kernel.blocks.values() for each in block.instructions):
        for value in each.operands:
            users.setdefault(value.register, []).append(each)
    packed = {each.result for each in made.values() if each.op == "shufflevector"}
    converted = {name for name in packed if all(map(_converts, users.get(name, ())))}
    return _of_launch(kernel) | converted | _beside(made, users)


def _converts(each: Instruction) -> bool:
    return each.op == "fpext" or (
        each.op == "call" and function_name(str(each.more)).startswith("convert_")
    )


def _beside(made: Mapping[str, Instruction], users: Mapping[str, list[Instruction]]) -> set[str]:
    """Addresses of an index and a constant where that of the index alone is there too.

    With the sum and what widens it, if nothing else uses them.
    """
    steps = [each for each in made.values() if each.op == "getelementptr"]
    single = [each for each in steps if len(each.operands) == 2]
    known = {(each.operands[0].register, _narrow(each, made)) for each in single}
    found: set[str] = set()
    for each in single:
        total = made.get(_narrow(each, made))
        if total is None or total.op not in ("add", "or") or total.operands[1].constant is None:
            continue
        if (each.operands[0].register, total.operands[0].register) in known:
            index = each.operands[1].register
            found |= {each.result, *(n for n in (index, total.result) if len(users[n]) == 1)}
    return found


def _narrow(step: Instruction, made: Mapping[str, Instruction]) -> str:
    """The register of an index, before it's made 64 bits wide."""
    name = step.operands[1].register
    each = made.get(name)
    return each.operands[0].register if each and each.op in ("sext", "zext") else name


def _of_launch(kernel: Function) -> set[str]:
    found = set(kernel.parameters)
    for name in block_order(kernel.blocks):
        for each in kernel.blocks[name].instructions:
            known = each.op == "call" and function_name(str(each.more)) in OF_LAUNCH
            pure = each.result and each.op not in ("phi", "load", "call", "alloca")
            inputs = (one.constant is not None or one.register in found for one in each.operands)
            if known or (pure and all(inputs)):
                found.add(each.result)
    return found


def function_name(mangled: str) -> str:
    """What OpenCL C calls a function: "exp" of _Z3expf, "fmuladd" of llvm.fmuladd.v4f32."""
    if found := re.match(r"_Z(\d+)", mangled):
        return mangled[found.end() : found.end() + int(found[1])]
    return mangled.removeprefix("llvm.").rsplit(".", 1)[0]


def _of_call(each: Instruction) -> int:
    name = function_name(str(each.more))
    kind = each.operands[0].type if each.type.kind == "void" and each.operands else each.type
    if found := re.fullmatch(r"v(load|store)(_half)?\d*", name):
        size = kind.width * (2 if found[2] else kind.bits // 8)
        return _transfers(size) + (kind.width if found[2] else 0)
    if name == "read_imageui":  # a texel of 16 bytes
        return 1
    if name.startswith("convert_"):
        return kind.width
    if name in FUNCTIONS:
        return FUNCTIONS[name] * (_registers(kind) if FUNCTIONS[name] == 1 else kind.width)
    if name in IDENTITY or name in OF_LAUNCH:
        return 0
    if name.startswith(("atomic_", "vector.reduce", "sub_group", "memset", "memcpy")):
        return _registers(each.operands[-1].type) if each.operands else 1
    raise ValueError(f"no price is known of {name}")
