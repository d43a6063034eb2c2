"""Edits of the tests of what lies inside gathers in a FlashToy's plan.json; as bad_tests.py."""

from __future__ import annotations

from bad_tests import changed
from edits import ABSENT
from flash_toy import RECORD, TILE, F, G
from plan_edits import PlanEdit, bad
from toy import D

INSIDE = {"dispatch": 1, "records": 9, "slots": 5}
FILL = {"arg": 2, "count": 8, "low": 0, "span": 256, "rows": 5, "stride": RECORD.nbytes}
FILL |= {"first": 16, "dtype": "u8"}
TEST = {
    "phase": 1,
    "step": 4,
    "symbols": [1, 2, 1, 0],
    "fills": [FILL],
    "expected": [{"arg": 5, "count": G * D, "size": 1.5, "sums": [0] * 8}],
    "inside": INSIDE,
}
AT = "tests[0]"
CHOSEN = {"arg": 4, "count": 4 + 2 * F, "size": 0.0, "sums": [0] * 8}
RULE = {"arg": 1, "count": 4, "words": [F, 0, 0, 0]}
CHOOSING = {**TEST, "inside": {**INSIDE, "dispatch": 0}, "fills": [RULE], "expected": [CHOSEN]}

BAD_INSIDE = (
    bad("tests", [changed(TEST, "inside", ABSENT)], "it is no dispatch", f"{AT}.step"),
    bad("tests", [{**TEST, "step": 3}], "it is no gather", f"{AT}.step"),
    bad("tests", [{**TEST, "step": 11}], "it is no dispatch", f"{AT}.step"),
    *(
        bad(
            "tests", [{**TEST, "inside": changed(INSIDE, key, value)}], reason, f"{AT}.inside.{key}"
        )
        for key, value, reason in (
            ("dispatch", 2, "there are two"),
            ("dispatch", ABSENT, "it is missing"),
            ("records", F + 1, "the table has fewer"),
            ("records", -1, "less than none"),
            ("slots", 0, "they lie nowhere"),
            ("slots", 65, "too many"),
        )
    ),
    bad(
        "tests",
        [{**TEST, "phase": 0, "inside": {**INSIDE, "dispatch": 0, "records": TILE + 1}}],
        "more than a tile",
        f"{AT}.inside.records",
    ),
    *(
        bad(
            "tests",
            [{**TEST, "fills": [changed(FILL, key, value)]}],
            reason,
            f"{AT}.fills[0].{key}",
        )
        for key, value, reason in (
            ("arg", 1, "the ticket is told"),
            ("dtype", "u9", "no such numbers"),
            ("first", 5 * RECORD.nbytes + 1, "behind the slots"),
            ("count", 5 * RECORD.nbytes, "there is less room"),
            ("rows", 6, "there are five slots"),
        )
    ),
    bad("tests", [{**TEST, "fills": [{**FILL, "arg": 3}]}], "floats", f"{AT}.fills[0].dtype"),
    bad("tests", [{**TEST, "fills": [FILL] * 13}], "three for each part", f"{AT}.fills"),
    bad(
        "tests",
        [{**CHOOSING, "fills": [{**RULE, "count": 5, "words": []}]}],
        "a rule has four",
        f"{AT}.fills[0].count",
    ),
    bad(
        "tests",
        [{**CHOOSING, "expected": [{**CHOSEN, "count": 5 + 2 * F}]}],
        "the ticket is shorter",
        f"{AT}.expected[0].count",
    ),
    bad("tests", [TEST] * 46, "more than dispatches"),
)

GOOD_INSIDE = (
    PlanEdit("tests", [TEST], "made-up records"),
    PlanEdit("tests", [CHOOSING], "what fills a ticket"),
    PlanEdit("tests", [{**TEST, "fills": [FILL] * 12}], "three for each part"),
    PlanEdit("tests", [{**TEST, "inside": {**INSIDE, "records": 0, "slots": 5}}], "none"),
    PlanEdit("tests", [{**TEST, "fills": [{**FILL, "dtype": "", "stride": 48}]}], "words"),
)
