"""Expressions: to reverse Polish and back, values, and bounds that hold."""

import itertools
import random
from typing import Any

import pytest
import sympy

from toolkit.errors import PocketError, format_error
from toolkit.plan.expr import evaluate, from_rpn, interval, maximum, symbol, symbols_of, to_rpn

SEQ, PAST, ROWS = symbol("seq"), symbol("past"), symbol("rows")
BOX = {"seq": (1, 70), "past": (0, 9), "rows": (1, 3)}

SPELLED = [
    (7, 7),
    (sympy.Integer(7), 7),
    (SEQ, ["seq"]),
    ((SEQ + 63) // 64, ["seq", 63, "+", 64, "//"]),
    (SEQ * 96 * 4, ["seq", 384, "*"]),
    ((SEQ * 96 + 63) // 64 * 64, ["seq", 96, "*", 63, "+", 64, "//", 64, "*"]),
    (SEQ - ROWS, ["seq", "rows", "-"]),
    (3 - SEQ, [3, "seq", "-"]),
    (-SEQ, [0, "seq", "-"]),
    ((PAST + SEQ) % 64, ["past", "seq", "+", 64, "%"]),
    (sympy.Max(SEQ, ROWS, 3), ["rows", "seq", "max", 3, "max"]),
    (sympy.Min(PAST, 5) * 7, ["past", 5, "min", 7, "*"]),
    (SEQ**2 + 1, ["seq", "seq", "*", 1, "+"]),
    (sympy.ceiling(SEQ / 4), [0, 0, "seq", "-", 4, "//", "-"]),
    ((SEQ // 2 + 3) // 5, ["seq", 2, "//", 3, "+", 5, "//"]),
    (3 * SEQ // (PAST + 1), ["seq", 3, "*", "past", 1, "+", "//"]),
]


def points(box: Any = BOX) -> Any:
    ranges = [range(low, high + 1) for low, high in box.values()]
    return [dict(zip(box, p, strict=True)) for p in itertools.product(*ranges)]


@pytest.mark.parametrize("expr, rpn", SPELLED, ids=lambda x: None)
def test_spelling_and_value(expr: Any, rpn: Any) -> None:
    assert to_rpn(expr) == rpn
    back = from_rpn(rpn)
    assert to_rpn(back) == rpn
    for at in random.Random(0).sample(points(), 20):
        expected = sympy.sympify(expr).subs({symbol(k): v for k, v in at.items()})
        assert evaluate(expr, at) == evaluate(back, at) == expected


def test_constants_come_back_as_int() -> None:
    assert from_rpn([2, 3, "*"]) == 6
    assert isinstance(from_rpn([2, 3, "*"]), int)
    assert isinstance(from_rpn(["seq", "seq", "-"]), int)
    assert symbols_of(SEQ * PAST + 1) == {"seq", "past"}
    assert symbols_of(4) == set()


@pytest.mark.parametrize("expr", [SEQ / 2, sympy.sqrt(SEQ), sympy.Float(1.5), SEQ * sympy.pi])
def test_what_is_no_integer_expression(expr: Any) -> None:
    with pytest.raises(PocketError, match="not an integer expression"):
        to_rpn(expr)


@pytest.mark.parametrize(
    "rpn",
    [
        [], ["+"], [1, "+"], [1, 2], ["seq", 0, "//"], ["seq", 0, "%"], 1.5, "seq", None, True,
        [1.5], [None], [True], [[1]], [2**70], {"a": 1}, [1] * 3000,
        ["seq", "seq", "-", 1, "+", "*"],
    ],
)  # fmt: skip
def test_malformed(rpn: Any) -> None:
    with pytest.raises(PocketError):
        from_rpn(rpn)


def test_missing_values_are_named() -> None:
    with pytest.raises(PocketError, match="symbol 'past' has no value"):
        evaluate(SEQ + PAST, {"seq": 1})
    with pytest.raises(PocketError, match="symbol 'past' has no bounds"):
        maximum(SEQ + PAST, {"seq": (1, 2)})
    with pytest.raises(PocketError, match="divides by zero"):
        evaluate(SEQ // PAST, {"seq": 1, "past": 0})


def random_rpn(generator: random.Random, depth: int) -> list[Any]:
    if depth == 0 or generator.random() < 0.2:
        return [generator.choice([*BOX, 1, 2, 3, 16, 64])]
    operator = generator.choice(["+", "-", "*", "//", "%", "min", "max"])
    left = random_rpn(generator, depth - 1)
    right = [generator.randint(1, 9)] if operator in "//%" else random_rpn(generator, depth - 1)
    return [*left, *right, operator]


def stack_machine(rpn: list[Any], at: dict[str, int]) -> int:
    """Plain Python as the judge, without sympy."""
    stack: list[int] = []
    apply = {
        "+": int.__add__, "-": int.__sub__, "*": int.__mul__, "//": int.__floordiv__,
        "%": int.__mod__, "min": min, "max": max,
    }  # fmt: skip
    for token in rpn:
        if token in apply:
            right = stack.pop()
            stack.append(apply[token](stack.pop(), right))
        else:
            stack.append(at[token] if isinstance(token, str) else token)
    return stack[0]


@pytest.mark.parametrize("seed", range(60))
def test_random_expressions_keep_value_and_bounds(seed: int) -> None:
    generator = random.Random(seed)
    rpn = random_rpn(generator, 3)
    expr = from_rpn(rpn)
    low, high = interval(expr, BOX)
    for at in generator.sample(points(), 60):
        value = stack_machine(rpn, at)
        assert evaluate(expr, at) == value
        assert evaluate(from_rpn(to_rpn(expr)), at) == value
        assert low <= value <= high


def test_not_monotone() -> None:
    assert maximum(SEQ * (70 - SEQ), BOX) >= 35 * 35
    assert maximum(SEQ % 64, BOX) == 63
    assert maximum(PAST % 64, BOX) == 9
    assert maximum(3 - SEQ, BOX) == 2


def test_an_open_bound_is_named_only_where_it_matters() -> None:
    box = {"seq": (1, 64), "past": (0, None)}
    assert maximum(sympy.Min(PAST + SEQ, 100) * 4, box) == 400
    assert maximum((PAST + SEQ) % 32, box) == 31
    assert maximum(SEQ - PAST, box) == 64
    assert maximum(SEQ // (PAST + 1), box) == 64
    with pytest.raises(PocketError, match="no upper bound") as caught:
        maximum((PAST + SEQ) * 4, box)
    assert "past" in caught.value.because and "seq" not in caught.value.because
    with pytest.raises(PocketError, match="may divide by zero"):
        maximum(SEQ // PAST, box)


def test_errors_have_three_lines() -> None:
    error = PocketError("it failed", "a cause\nin two lines", "a remedy")
    assert format_error(error).splitlines() == [
        "Error: it failed",
        "  because: a cause",
        "           in two lines",
        "  try:     a remedy",
    ]
    assert format_error(ValueError("plain")) == "Error: plain"
    assert format_error(KeyboardInterrupt()) == "Error: KeyboardInterrupt"
