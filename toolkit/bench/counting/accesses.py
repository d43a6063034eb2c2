"""Instructions that touch memory: loads, stores, vloadN and vstoreN, atomics, fills and copies."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from opencl_kernels.formats import Array
from toolkit.bench.counting.ir import Instruction, Value
from toolkit.bench.counting.ir_types import Type
from toolkit.bench.counting.items import Chosen, Items
from toolkit.bench.counting.memory import GLOBAL
from toolkit.bench.counting.operations import unsigned
from toolkit.bench.counting.prices import function_name

Step = Callable[[Items, Chosen], None]
VECTOR = re.compile(r"v(load|store)(_half)?(\d*)")
HALF = np.dtype(np.float16)
ATOMICS: dict[str, Callable[[Array, Array], Array]] = {
    **{"add": np.add, "sub": np.subtract, "or": np.bitwise_or, "and": np.bitwise_and},
    **{"min": np.minimum, "max": np.maximum, "xchg": lambda _, value: value},
}
COPIED = 4  # bytes at a time
IMAGE = "read_imageui"  # an image's texel: four words of 32 bits


def access(each: Instruction) -> Step | None:
    """What an instruction does with memory; None: nothing."""
    if each.op == "load":
        dtype = np.dtype(np.int8) if each.type.bits == 1 else each.type.dtype
        return lambda items, chosen: items.write(
            each.result,
            _as_register(_load(items, chosen, each.operands[0], 0, dtype, each.type), each.type),
            chosen,
        )
    if each.op == "store":
        value, pointer = each.operands
        return lambda items, chosen: _store(items, chosen, value, pointer, 0, value.type.dtype)
    if each.op != "call":
        return None
    name = function_name(str(each.more))
    if found := VECTOR.fullmatch(name):
        return _vector(each, found[1] == "load", bool(found[2]))
    if name == IMAGE:
        return _texel(each)
    if name.startswith("atomic_"):
        return _atomic(each, name)
    if name.startswith(("memset", "memcpy")):
        return _copy(each, name.startswith("memset"))
    return None


def _as_register(value: Array, kind: Type) -> Array:
    return value.astype(kind.dtype, copy=False)


def _vector(each: Instruction, loads: bool, half: bool) -> Step:
    """Element i of vectors of this width, counted from the pointer."""
    if loads:
        offset, pointer = each.operands
        dtype = HALF if half else each.type.dtype

        def load(items: Items, chosen: Chosen) -> None:
            at = items.read(offset, chosen) * (each.type.width * dtype.itemsize)
            found = _load(items, chosen, pointer, at, dtype, each.type)
            items.write(each.result, _as_register(found, each.type), chosen)

        return load
    value, offset, pointer = each.operands
    stored = HALF if half else value.type.dtype

    def store(items: Items, chosen: Chosen) -> None:
        at = items.read(offset, chosen) * (value.type.width * stored.itemsize)
        _store(items, chosen, value, pointer, at, stored)

    return store


def _texel(each: Instruction) -> Step:
    """Of an image that lies in memory as a buffer does, from its pointer on."""
    image, place = each.operands

    def load(items: Items, chosen: Chosen) -> None:
        at = items.read(place, chosen).astype(np.int64) * each.type.size
        found = _load(items, chosen, image, at, each.type.dtype, each.type)
        items.write(each.result, found, chosen)

    return load


def _at(
    items: Items, chosen: Chosen, pointer: Value, offset: Array | int, size: int, stores: bool
) -> tuple[Array, Array]:
    """Which items access which addresses; counted where memory is global."""
    who = items.numbers(chosen)
    at = np.broadcast_to(items.read(pointer, chosen) + offset, (len(who),))
    if pointer.type.space == GLOBAL:
        items.memory.buffers.count(at, size, items.wave[who], items.group[who], stores)
    return who, at


def _load(
    items: Items,
    chosen: Chosen,
    pointer: Value,
    offset: Array | int,
    dtype: np.dtype[np.generic],
    kind: Type,
) -> Array:
    who, at = _at(items, chosen, pointer, offset, dtype.itemsize * kind.width, False)
    found = items.memory.load(pointer.type.space, at, who, kind.width, dtype)
    return found if kind.lanes else found[:, 0]


def _store(
    items: Items,
    chosen: Chosen,
    value: Value,
    pointer: Value,
    offset: Array | int,
    dtype: np.dtype[np.generic],
) -> None:
    who, at = _at(items, chosen, pointer, offset, dtype.itemsize * value.type.width, True)
    with np.errstate(over="ignore"):  # what no half holds is infinite
        stored = items.read_all(value, chosen).astype(dtype).reshape(len(who), -1)
    items.memory.store(pointer.type.space, at, who, stored)


def _atomic(each: Instruction, name: str) -> Step:
    """One item after the other."""
    pointer, *rest = each.operands
    kind, word = each.type, name.removeprefix("atomic_")
    change = ATOMICS[{"inc": "add", "dec": "sub"}.get(word, word)]
    is_unsigned = str(each.more).rstrip("_")[-1] in "jm"

    def run(items: Items, chosen: Chosen) -> None:
        dtype = kind.dtype
        who, at = _at(items, chosen, pointer, 0, dtype.itemsize, True)
        places = items.memory.elements(pointer.type.space, at, who, dtype)
        memory = items.memory.spaces[pointer.type.space].view(dtype)
        one = np.ones(len(places), dtype)
        values = items.read_all(rest[0], chosen) if rest else one
        if is_unsigned:
            memory, values = unsigned(memory), unsigned(values)
        before = np.empty_like(values)
        for i, place in enumerate(places):
            before[i] = memory[place]
            memory[place : place + 1] = change(before[i : i + 1], values[i : i + 1])
        items.write(each.result or name, before.view(dtype), chosen)

    return run


def _copy(each: Instruction, fills: bool) -> Step:
    """memset and memcpy of whole words, as many as each item wants."""
    target, source, size = each.operands[:3]
    word = Type("int", 8 * COPIED)

    def run(items: Items, chosen: Chosen) -> None:
        sizes = items.read_all(size, chosen)
        for at in range(0, int(sizes.max()), COPIED):
            some = items.numbers(chosen)[sizes > at]
            if fills:
                held = items.read_all(source, some).astype(np.uint8)
                found = np.repeat(held, COPIED).view(word.dtype)
            else:
                found = _load(items, some, source, at, word.dtype, word)
            who, into = _at(items, some, target, at, COPIED, True)
            items.memory.store(target.type.space, into, who, found[:, None])

    return run
