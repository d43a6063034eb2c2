"""What LLVM's instructions compute, over the items of a launch: arrays [items] or [items, width].

Integers are signed; where an instruction reads them otherwise it takes a view of their bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from opencl_kernels.formats import Array
from toolkit.bench.counting.cursor import constant_offset
from toolkit.bench.counting.ir import Instruction
from toolkit.bench.counting.ir_types import Type

Operation = Callable[..., Array]


def unsigned(value: Array) -> Array:
    """The same bits as an unsigned integer."""
    return value if value.dtype == np.bool_ else value.view(f"u{value.dtype.itemsize}")


def signed(value: Array) -> Array:
    """The inverse."""
    return value if value.dtype == np.bool_ else value.view(f"i{value.dtype.itemsize}")


def as_unsigned(operation: Callable[[Array, Array], Array]) -> Operation:
    """An operation on unsigned integers."""
    return lambda a, b: signed(np.asarray(operation(unsigned(a), unsigned(b))))


def _quotient(a: Array, b: Array) -> Array:
    """Towards zero; by zero, which is undefined, by one."""
    b = np.where(b == 0, 1, b).astype(b.dtype)
    return np.asarray(np.floor_divide(a - np.fmod(a, b), b))


def _remainder(a: Array, b: Array) -> Array:
    return np.asarray(np.fmod(a, np.where(b == 0, 1, b).astype(b.dtype)))


def _in_float(operation: Callable[[Array, Array], Array]) -> Operation:
    """Halves are computed as floats and rounded once."""

    def run(a: Array, b: Array) -> Array:
        if a.dtype != np.float16:
            return operation(a, b)
        return operation(a.astype(np.float32), b.astype(np.float32)).astype(np.float16)

    return run


BINARY: dict[str, Operation] = {
    **{"add": np.add, "sub": np.subtract, "mul": np.multiply},
    **{"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor},
    **{"shl": np.left_shift, "ashr": np.right_shift, "lshr": as_unsigned(np.right_shift)},
    **{"sdiv": _quotient, "srem": _remainder},
    **{"udiv": as_unsigned(_quotient), "urem": as_unsigned(_remainder)},
    **{"fadd": _in_float(np.add), "fsub": _in_float(np.subtract)},
    **{"fmul": _in_float(np.multiply), "fdiv": _in_float(np.divide), "frem": np.fmod},
}
ORDER: dict[str, Operation] = {
    **{"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal},
    **{"gt": np.greater, "ge": np.greater_equal},
}


def _compare(each: Instruction) -> Operation:
    predicate = each.more
    if each.op == "icmp":
        order = ORDER[predicate if predicate in ORDER else predicate[1:]]
        return as_unsigned(order) if predicate.startswith("u") else order
    if predicate in ("ord", "uno"):
        return lambda a, b: (np.isnan(a) | np.isnan(b)) == (predicate == "uno")
    order, or_nan = ORDER[predicate[1:]], predicate[0] == "u"

    def run(a: Array, b: Array) -> Array:
        nan = np.isnan(a) | np.isnan(b)
        return order(a, b) | nan if or_nan else order(a, b) & ~nan

    return run


def _cast(each: Instruction) -> Operation:
    kind, source = each.type, each.operands[0].type
    if each.op == "bitcast":
        return lambda a: _same_bits(a, kind)
    if each.op in ("zext", "uitofp"):
        mask = (1 << source.bits) - 1
        if source.bits in (1, 8, 16, 32, 64):
            return lambda a: unsigned(a).astype(kind.dtype)
        return lambda a: (a & mask).astype(kind.dtype)
    if each.op == "sext":
        return lambda a: -a.astype(kind.dtype) if source.bits == 1 else a.astype(kind.dtype)
    if each.op == "trunc":
        return lambda a: _narrow(a, kind)
    if each.op == "fptoui":
        return lambda a: a.astype(np.int64).astype(kind.dtype)
    return lambda a: a.astype(kind.dtype)


def _narrow(a: Array, kind: Type) -> Array:
    """To fewer bits; of a width that numpy lacks the low bits remain, sign-extended."""
    if kind.bits == 1:
        return (a & 1).astype(np.bool_)
    spare = kind.container - kind.bits
    return np.asarray(a.astype(kind.dtype) << spare >> spare)


def _same_bits(a: Array, kind: Type) -> Array:
    if a.dtype == np.bool_ and a.ndim > 1:  # the first element is the lowest bit
        return _narrow((a.astype(np.int64) << np.arange(a.shape[1])).sum(1), kind)
    found = np.ascontiguousarray(a).reshape(len(a), -1).view(kind.dtype)
    return found if kind.lanes else found[:, 0]


def _select(_: Instruction) -> Operation:
    def run(condition: Array, a: Array, b: Array) -> Array:
        if a.ndim > condition.ndim:
            condition = condition[:, None]
        return np.where(condition, a, b)

    return run


def _extract(_: Instruction) -> Operation:
    def run(vector: Array, index: Array) -> Array:
        if len(index) == 1:
            return vector[:, int(index[0])]
        return np.take_along_axis(vector, index.astype(np.int64)[:, None], 1)[:, 0]

    return run


def _insert(_: Instruction) -> Operation:
    def run(vector: Array, element: Array, index: Array) -> Array:
        count = max(len(vector), len(element), len(index))
        made = np.array(np.broadcast_to(vector, (count, vector.shape[1])))
        made[np.arange(count), index] = element
        return made

    return run


def _shuffle(each: Instruction) -> Operation:
    """In undefined places, -1 of the mask, the last element."""
    mask = each.operands[2].constant
    assert mask is not None
    order, width = mask.reshape(-1).astype(np.int64), each.operands[0].type.lanes
    if (order < width).all():
        return lambda a, b, _: a[:, order]

    def run(a: Array, b: Array, _: Array) -> Array:
        count = max(len(a), len(b))
        both = [np.broadcast_to(each, (count, each.shape[1])) for each in (a, b)]
        return np.concatenate(both, 1)[:, order]

    return run


def _step(each: Instruction) -> Operation:
    """Bytes that constants step over at once, and what each other index steps by."""
    kind, fixed, scales = each.more, 0, []
    for i, index in enumerate(each.operands[1:]):
        if i and kind.kind == "struct":
            assert index.constant is not None
            at = int(index.constant[0])
            fixed, kind = fixed + kind.offset(at), kind.parts[at]
            continue
        if i:
            kind = kind.parts[0] if kind.parts else kind.scalar
        if index.constant is not None:
            fixed += constant_offset(kind, [int(index.constant.reshape(-1)[0])])
        else:
            scales.append((i, kind.size))

    def run(base: Array, *indices: Array) -> Array:
        address = base + fixed
        for at, scale in scales:
            address = address + indices[at].astype(np.int64) * scale
        return np.asarray(address)

    return run


MAKERS: dict[str, Callable[[Instruction], Operation]] = {
    **dict.fromkeys(("icmp", "fcmp"), _compare),
    **dict.fromkeys(("zext", "sext", "trunc", "bitcast", "fptoui", "fptosi"), _cast),
    **dict.fromkeys(("uitofp", "sitofp", "fpext", "fptrunc"), _cast),
    **{"select": _select, "extractelement": _extract, "insertelement": _insert},
    **{"shufflevector": _shuffle, "getelementptr": _step},
    **dict.fromkeys(("freeze", "addrspacecast", "ptrtoint", "inttoptr"), lambda _: lambda a: a),
    "fneg": lambda _: np.negative,
}


def operation(each: Instruction) -> Operation | None:
    """The function of an instruction without memory, calls and jumps; None: it's one with them."""
    if each.op in BINARY:
        return BINARY[each.op]
    maker = MAKERS.get(each.op)
    return maker(each) if maker else None


def register(value: Any, kind: Type) -> Array:
    """What an operation made, as a register of a type holds it."""
    return np.asarray(value).astype(kind.dtype, copy=False)
