"""Edits of the tests of kernels in a toy's plan.json, as bad_plans.py has them of all else."""

from __future__ import annotations

from typing import Any

from edits import ABSENT
from plan_edits import PlanEdit, bad

FILL = {"arg": 1, "count": 3, "low": 0, "span": 50}
EXPECTED = {"arg": 3, "count": 48, "size": 1.5, "sums": [0] * 8}
TEST = {
    "phase": 0,
    "step": 0,
    "symbols": [3, 2, 1, 0],
    "fills": [FILL],
    "expected": [EXPECTED],
}
AT = "tests[0]"


def changed(value: dict[str, Any], key: str, to: Any) -> dict[str, Any]:
    """An object with another value for a key, or without it."""
    return {k: v for k, v in {**value, key: to}.items() if v is not ABSENT}


def chain(count: int) -> list[dict[str, Any]]:
    """Tests, each of which follows the one before."""
    return [TEST, *({**TEST, "after": i} for i in range(count - 1))]


BAD_TESTS = (
    bad("tests", {"0": TEST}, "no list"),
    bad(
        "tests",
        [{**TEST, "expected": [{**EXPECTED, "arg": 1, "count": 3}]}],
        "it is only read",
        f"{AT}.expected[0].arg",
    ),
    *(
        bad("tests", [changed(TEST, key, value)], reason, f"tests[0].{damaged or key}")
        for key, value, reason, damaged in (
            ("phase", 3, "there is no such phase", ""),
            ("phase", ABSENT, "it is missing", ""),
            ("step", 7, "there is no such step", ""),
            ("step", 5, "a fetch is no dispatch", ""),
            ("symbols", [3, 2, 1], "one has no value", ""),
            ("symbols", [9, 2, 1, 0], "outside of the phase's bounds", "symbols[0]"),
            ("symbols", [3, 39, 1, 0], "beyond the context", ""),
            ("symbols", [1, 2, 2, 0], "more rows than tokens", ""),
            ("symbols", [3, 2, 1, 6], "it starts behind its end", ""),
            ("after", 0, "it would follow itself", ""),
            ("fills", FILL, "no list", ""),
            ("expected", ABSENT, "it is missing", ""),
            ("expected", [], "any kernel passes it", ""),
            ("expected", [EXPECTED] * 9, "two for each argument", ""),
            ("fills", [FILL] * 5, "one for each argument", ""),
        )
    ),
    bad(
        "tests",
        [TEST, {**TEST, "phase": 2, "after": 0}],
        "another phase's scratch",
        "tests[1].after",
    ),
    bad("tests", [TEST] * 21, "more than steps"),
    bad("tests", chain(10), "too many follow each other", "tests[9].after"),
    *(
        bad("tests", [{**TEST, "fills": [{**FILL, key: value}]}], reason, f"{AT}.fills[0].{key}")
        for key, value, reason in (
            ("arg", 4, "there is no such argument"),
            ("arg", 2, "a weight is as it is"),
            ("arg", 0, "the symbols are told"),
            ("count", 9, "there is room for 8"),
            ("count", 0, "nothing"),
            ("rows", 2, "one lies on the other"),
            ("rows", 2**40, "too many"),
            ("stride", -1, "backwards"),
            ("span", 0, "no value"),
            ("low", 2**40, "too large"),
            ("words", [1, 2], "one is missing"),
            ("words", [1, 2, 2**31], "more than 32 bits"),
        )
    ),
    *(
        bad(
            "tests",
            [{**TEST, "expected": [{**EXPECTED, key: value}]}],
            reason,
            f"{AT}.expected[0].{key}",
        )
        for key, value, reason in (
            ("count", 129, "there is room for 128"),
            ("first", -1, "before the memory"),
            ("size", -1.0, "negative"),
            ("size", "1", "no number"),
            ("sums", [0] * 7, "one is missing"),
            ("sums", [0.5] * 8, "no whole numbers"),
        )
    ),
)

GOOD_TESTS = (
    PlanEdit("tests", [], "none"),
    PlanEdit("tests", [{**TEST, "fills": [{**FILL, "words": []}]}], "made up"),
    PlanEdit("tests", [TEST, {**TEST, "after": 0}], "one after the other"),
    PlanEdit("tests", chain(9), "eight follow the first"),
    PlanEdit("tests", [TEST] * 20, "one for each step"),
    PlanEdit("tests", [{**TEST, "fills": [FILL] * 4, "expected": [EXPECTED] * 8}], "the most"),
    PlanEdit("tests", [{**TEST, "fills": [{**FILL, "words": [7, -1, 2**31 - 1]}]}], "words"),
    PlanEdit("tests", [{**TEST, "fills": [{**FILL, "count": 1, "rows": 2, "stride": 7}]}], "runs"),
    PlanEdit("tests", [{**TEST, "expected": [{**EXPECTED, "first": 80, "size": 0}]}], "exact"),
)
