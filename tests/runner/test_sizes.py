"""Sizes: both executors find the same bounds and values, and the bounds hold everywhere."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from golden_sizes import GOLDEN, MALFORMED, Size
from native import DRIVERS, SANITIZERS, SOURCES, build, with_library

from toolkit.errors import PocketError
from toolkit.plan.expr import divisor, evaluate, from_rpn, interval, to_rpn

Answer = dict[str, Any]  # {"bounds": […] | None, "at": [… | None]}, or {"malformed": …}
OPERATORS: dict[str, Callable[[int, int], int]] = {
    **{"+": int.__add__, "-": int.__sub__, "*": int.__mul__},
    **{"//": int.__floordiv__, "%": int.__mod__, "min": min, "max": max},
}


def ask_runner(sizes: Sequence[Size]) -> list[Answer]:
    """What the runner makes of them."""
    return _ask(with_library("size_drive", DRIVERS / "size_drive.cpp"), sizes)


def ask_sanitized(sizes: Sequence[Size]) -> list[Answer]:
    """The same, and nothing that C++ leaves undefined happens."""
    parts = [SOURCES / "plan/json_node.cpp", SOURCES / "base/json.cpp"]
    return _ask(build("size_drive", [DRIVERS / "size_drive.cpp", *parts], *SANITIZERS), sizes)


def _ask(program: Path, sizes: Sequence[Size]) -> list[Answer]:
    lines = [
        json.dumps(
            {
                "symbols": list(size.box),
                "code": size.code,
                "box": list(size.box.values()),
                "at": [point for point, _ in size.at],
            }
        )
        for size in sizes
    ]
    done = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask_host(sizes: Sequence[Size]) -> list[Answer]:
    """What the Python executor makes of them."""
    return [_ask_host(size) for size in sizes]


def _ask_host(size: Size) -> Answer:
    try:
        expr = from_rpn(size.code)
    except PocketError as error:
        return {"malformed": error.because}
    points = [dict(zip(size.box, point, strict=True)) for point, _ in size.at]
    return {
        "bounds": refused(lambda: [*interval(expr, size.box), divisor(expr, size.box)]),
        "at": [refused(lambda p=point: evaluate(expr, p)) for point in points],
    }


def refused(compute: Callable[[], Any]) -> Any:
    """None where it is."""
    try:
        return compute()
    except PocketError:
        return None


@pytest.mark.parametrize("ask", [ask_runner, ask_host])
def test_golden(ask: Callable[[Sequence[Size]], list[Answer]]) -> None:
    for size, answer in zip(GOLDEN, ask(GOLDEN), strict=True):
        bounds = None if size.bounds is None else list(size.bounds)
        assert answer == {"bounds": bounds, "at": [value for _, value in size.at]}, size


@pytest.mark.parametrize("ask", [ask_runner, ask_host])
def test_malformed(ask: Callable[[Sequence[Size]], list[Answer]]) -> None:
    sizes = [Size(code, {"seq": (1, 2)}, None) for code in MALFORMED]
    for size, answer in zip(sizes, ask(sizes), strict=True):
        known = answer.get("malformed", "") or "unknown symbol" in str(answer)
        assert known or size.code == ["other"], size  # check.py names unknown symbols


# --- by brute force ------------------------------------------------------------------------------


def random_code(dice: random.Random, depth: int, names: Sequence[str]) -> list[Any]:
    if depth == 0 or dice.random() < 0.2:
        number = dice.choice((0, 1, 2, 3, 5, 8, 16, 64, -1, -7, 2**31, 2**61))
        return [dice.choice((*names, *names, number))]
    operator = dice.choice(list(OPERATORS))
    left, right = (random_code(dice, depth - 1, names) for _ in range(2))
    if operator in ("//", "%") and dice.random() < 0.8:
        right = [dice.randint(1, 9)]
    return [*left, *right, operator]


def random_size(seed: int) -> Size:
    """An expression at every point of its box."""
    dice = random.Random(seed)
    lows = {name: dice.choice((0, 1, 1, 3)) for name in ("a", "b", "c")[: dice.randint(1, 3)]}
    box = {name: (low, low + dice.choice((0, 1, 4, 9))) for name, low in lows.items()}
    points = list(itertools.product(*(range(low, high + 1) for low, high in box.values())))
    return Size(random_code(dice, 4, list(box)), box, None, tuple((p, None) for p in points))


def by_hand(code: Any, at: dict[str, int]) -> int | None:
    """Plain Python as the judge; None where a step has no value, or needs more than 64 bits."""
    stack: list[int] = []
    for token in code if isinstance(code, list) else [code]:
        if token not in OPERATORS:
            stack.append(at[token] if isinstance(token, str) else token)
            continue
        right, left = stack.pop(), stack.pop()
        if right == 0 and token in ("//", "%"):
            return None
        value = OPERATORS[token](left, right)
        if not -(2**63) <= value < 2**63:
            return None
        stack.append(value)
    return stack[0]


def check_by_brute_force(size: Size, answer: Answer) -> None:
    values = [by_hand(size.code, dict(zip(size.box, p, strict=True))) for p, _ in size.at]
    assert answer["at"] == values, size
    if answer["bounds"] is not None:
        low, high, each = answer["bounds"]
        for value in values:
            assert value is not None and low <= value <= high, size
            assert value % each == 0 if each else value == 0, size


@pytest.mark.parametrize("ask", [ask_runner, pytest.param(ask_sanitized, marks=pytest.mark.slow)])
def test_the_runners_bounds_hold_everywhere(ask: Callable[[Sequence[Size]], list[Answer]]) -> None:
    sizes = [random_size(seed) for seed in range(1500)]
    answers = ask(sizes)
    for size, answer in zip(sizes, answers, strict=True):
        check_by_brute_force(size, answer)
    assert sum(answer["bounds"] is not None for answer in answers) > 500


def test_both_find_the_same() -> None:
    """For code as plans have it: after sympy has simplified it."""
    sizes = [random_size(seed) for seed in range(200)]
    readable = [s for s, found in zip(sizes, ask_host(sizes), strict=True) if "at" in found]
    plain = [size._replace(code=to_rpn(from_rpn(size.code))) for size in readable]
    same = [size for size in plain if within(size.code)]
    assert len(same) > 150
    for size, ours, theirs in zip(same, ask_host(same), ask_runner(same), strict=True):
        check_by_brute_force(size, theirs)
        assert ours == theirs, size


def within(code: Any) -> bool:
    """Whether sympy left numbers that plan.json may hold."""
    tokens = code if isinstance(code, list) else [code]
    return all(abs(token) <= 2**62 for token in tokens if isinstance(token, int))
