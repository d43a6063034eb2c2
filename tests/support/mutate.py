"""Plans that are wrong in every way: mutations of a good one, each made by a seed alone."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[Any, random.Random], None]

NUMBERS: list[Any] = [
    *(0, 1, -1, 2, 3, 7, 63, 128, 255, 16384, 2**31 - 1, 2**31, 2**32, 2**40, 2**42, 2**42 + 1),
    *(2**53, 2**60, 2**62, 2**63 - 1, -(2**63), 2**63, 2**64, 10**40, 0.0, 1.5, -0.0, 1e300),
]
VALUES: list[Any] = [
    *(True, False, None, "", "seq", "past", "+", "//", "x" * 5000, "\0", "\u2028", "../x"),
    *([], {}, [[]], {"": 0}, ["scratch", 1], ["symbols"], ["buffer", 3], [0], [[0, 1]]),
]
OPERATORS = ("+", "-", "*", "//", "%", "min", "max")
SIZES = (
    "bytes",
    "offset",
    "arena_bytes",
    "max",
    "min",
    "file",
    "queue",
    "program",
    "slot",
    "capacity",
    "axis",
    "count",
    "stride",
    "length",
    "slots",
    "pinned",
    "tile",
    "gap",
    "max_read",
    "cluster",
    "table",
    "order",
)


def mutated(text: str, seed: str) -> bytes:
    """A plan.json that differs from `text` in a few places."""
    dice = random.Random(seed)
    if dice.random() < 0.15:
        return of_bytes(text.encode(), dice)
    plan = json.loads(text)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        change = dice.choice(CHANGES)
        change(plan, dice)
    out = json.dumps(plan)
    if dice.random() < 0.03:
        out = doubled_key(out, dice)
    return out.encode("utf-8", "surrogatepass")


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


def place(plan: Any, dice: random.Random, fits: Callable[[Any, Any], bool]) -> tuple[Any, Any]:
    """A random place whose key and value fit; the whole plan's first key where none does."""
    found = [(c, k) for c, k in places(plan) if fits(k, c[k])]
    return dice.choice(found) if found else ({"": 0}, "")


def of_bytes(content: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, inserted, taken out, or the rest cut off."""
    data = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        at, length = dice.randrange(len(data)), dice.randint(1, 30)
        kind = dice.randrange(4)
        if kind == 0:
            data[at] = dice.choice(b'{}[]",:0123456789-+eE.\\u\x00\xff ')
        elif kind == 1:
            data[at:at] = data[dice.randrange(len(data)) :][:length]
        elif kind == 2:
            del data[at : at + length]
        elif dice.random() < 0.1:
            data = data[: at + 1]
    return bytes(data)


def doubled_key(text: str, dice: random.Random) -> str:
    """A key that stands there twice."""
    at = dice.choice([i for i, c in enumerate(text) if c == "{"])
    return text[: at + 1] + '"a": 1, "a": 2, ' + text[at + 1 :]


# --- changes of a parsed plan --------------------------------------------------------------------


def is_number(_: Any, value: Any) -> bool:
    return type(value) is int


def any_value(plan: Any, dice: random.Random) -> None:
    container, key = place(plan, dice, lambda *_: True)
    container[key] = dice.choice(VALUES + NUMBERS)


def extreme_number(plan: Any, dice: random.Random) -> None:
    container, key = place(plan, dice, is_number)
    container[key] = dice.choice(NUMBERS)


def near_number(plan: Any, dice: random.Random) -> None:
    container, key = place(plan, dice, is_number)
    value = container[key]
    container[key] = dice.choice(
        (value + 1, value - 1, 2 * value, value // 2, 1000 * value, -value)
    )


def size_or_place(plan: Any, dice: random.Random) -> None:
    """Offsets, sizes and indices that overlap, reach out of something, or are not aligned."""
    container, key = place(plan, dice, lambda k, v: k in SIZES and is_number(k, v))
    steps = (1, 4, 64, 128, 512, 16384, 1 << 20)
    container[key] = container[key] + dice.choice((-1, 1)) * dice.choice(steps)


def dropped(plan: Any, dice: random.Random) -> None:
    container, key = place(plan, dice, lambda *_: True)
    del container[key]


def exchanged(plan: Any, dice: random.Random) -> None:
    """A value from elsewhere in the plan."""
    container, key = place(plan, dice, lambda *_: True)
    other, of = place(plan, dice, lambda *_: True)
    container[key] = copy.deepcopy(other[of])


def doubled(plan: Any, dice: random.Random) -> None:
    """An item of a list once more, perhaps very often."""
    container, key = place(plan, dice, lambda _, v: isinstance(v, list) and len(v) > 0)
    item = dice.choice(container[key]) if container[key] else 0
    container[key] = container[key] + [copy.deepcopy(item)] * dice.choice((1, 1, 2, 40, 300))


def shuffled(plan: Any, dice: random.Random) -> None:
    container, key = place(plan, dice, lambda _, v: isinstance(v, list) and len(v) > 1)
    if isinstance(container[key], list):
        dice.shuffle(container[key])


def expression(plan: Any, dice: random.Random) -> None:
    """A size in reverse Polish, mostly well formed, of any depth."""
    keys = ("shape", "size", "global")
    container, key = place(plan, dice, lambda k, v: k in keys and isinstance(v, list))
    code: list[Any] = []
    depth = 0
    for _ in range(dice.choice((1, 3, 9, 70, 400))):
        if depth > 1 and dice.random() < 0.55:
            code.append(dice.choice(OPERATORS))
            depth -= 1
        else:
            symbol = dice.choice(("seq", "past", "rows", "start", "seq", "nothing"))
            code.append(dice.choice((symbol, dice.choice(NUMBERS[:12]), dice.choice(NUMBERS))))
            depth += 1
    code += [dice.choice(OPERATORS) for _ in range(depth - 1 if dice.random() < 0.9 else depth)]
    container[key] = code if key == "size" else [code] * dice.choice((1, 1, 2, 3))


def nested(plan: Any, dice: random.Random) -> None:
    container, key = place(plan, dice, lambda *_: True)
    for _ in range(dice.choice((1, 2, 60, 70, 200))):
        container[key] = [container[key]] if dice.random() < 0.5 else {"a": container[key]}


def moved_symbol(plan: Any, dice: random.Random) -> None:
    """Bounds of a symbol or of a phase."""
    container, key = place(plan, dice, lambda k, _: k in ("seq", "past", "rows", "bounds"))
    low = dice.choice((0, 1, 2, 8, 39, 40))
    bounds = [low, low + dice.choice((0, 1, 7, 8, 39, 1 << 20))]
    symbol = dice.choice(("seq", "past", "rows", "start"))
    container[key] = {symbol: bounds} if key == "bounds" else bounds


def other_sizes(plan: Any, dice: random.Random) -> None:
    """Another size of the model, and perhaps buffers that hold it."""
    model = plan.get("model")
    if isinstance(model, dict):
        key = dice.choice(("max_context", "prefill_chunk", "vocab_size", "batch"))
        model[key] = dice.choice((1, 2, 5, 8, 9, 39, 1000, 2**20, 2**31 - 1))
    if isinstance(plan.get("buffers"), list) and dice.random() < 0.5:
        for buffer in plan["buffers"]:
            if isinstance(buffer, dict):
                buffer["bytes"] = dice.choice((2**13, 2**20, 2**26, 2**27, 2**42))


CHANGES: tuple[Change, ...] = (
    *(any_value, extreme_number, near_number, near_number, size_or_place, size_or_place, dropped),
    *(exchanged, doubled, shuffled, expression, expression, nested, moved_symbol, other_sizes),
)


# --- the files beside it -------------------------------------------------------------------------


def damage_file(folder: Path, dice: random.Random) -> None:
    """Cut, lengthen, empty, remove or replace one file of a plan's folder."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "plan.json")
    file = dice.choice(files)
    content = file.read_bytes()
    kind = dice.randrange(6)
    if kind == 0:
        file.write_bytes(content[: dice.randrange(len(content) + 1)])
    elif kind == 1:
        file.write_bytes(content + bytes(dice.randint(1, 20000)))
    elif kind == 2:
        file.unlink()
    elif kind == 3:
        file.unlink()
        file.mkdir()
    elif kind == 4:
        file.write_bytes(dice.randbytes(dice.randint(0, 400)))
    else:
        file.write_bytes(b"#error\n" + content)


def write_case(good: Path, folder: Path, seed: str) -> str:
    """A mutated plan on disk; the line that tells fuzz_plan of it.

    Most plans lie beside the good one and share its files; some have a damaged folder of their own.
    """
    dice = random.Random(f"case {seed}")
    text = (good / "plan.json").read_text()
    fail, damaged = dice.random() < 0.15, dice.random() < 0.06
    # What fails inside OpenCL, or is a damaged file, needs a plan that comes so far.
    content = text.encode() if fail or damaged else mutated(text, seed)
    plan = good / f"{seed}.json"
    if damaged:
        plan = folder / seed / "plan.json"
        shutil.copytree(good, plan.parent, ignore=lambda *_: ())
        damage_file(plan.parent, dice)
    plan.write_bytes(content)
    recorded = dice.choice(("auto", "on", "off"))
    return f"{dice.randint(1, 500) if fail else 0} {recorded} {plan}"
