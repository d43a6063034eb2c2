"""What a governor sees and must decide; for it in numpy, and for the runner's.

A case is (speeds, budget, steps). A step: how often; tokens of a run; seconds that are predicted
for its reads; seconds; the budget that there is, or None; and what it goes on with, a budget and a
speed, by the number of the run, counted from 1.
"""

from __future__ import annotations

from typing import TypeAlias

Went: TypeAlias = dict[int, tuple[int | None, float]]
Step: TypeAlias = tuple[int, int, float, float, int | None, Went]
Case: TypeAlias = tuple[tuple[float, ...], int | None, tuple[Step, ...]]
ALL, MS = (0.25, 0.5, 1.0), 1e-3

CASES: dict[str, Case] = {
    "a flash as it was said to be": (ALL, None, ((200, 1, MS, MS, None, {}),)),
    "a faster one": (ALL, 5000, ((200, 1, MS, 0.3 * MS, None, {}),)),
    "half as fast from the 64th token on": (
        ALL,
        None,
        ((64, 1, MS, MS, None, {}), (64, 1, MS, 1.79 * MS, None, {16: (None, 0.5)})),
    ),
    "two looks must agree": (
        ALL,
        None,
        (
            (64, 1, MS, MS, None, {}),
            (8, 1, MS, 2.6 * MS, None, {}),
            (64, 1, MS, MS, None, {}),
        ),
    ),
    "a quarter, and back again": (
        ALL,
        7,
        (
            (64, 1, MS, 4 * MS, None, {16: (7, 0.25)}),
            (200, 1, MS, MS, None, {24: (7, 1.0)}),
        ),
    ),
    "between two speeds it stays": (
        ALL,
        None,
        (
            (64, 1, MS, 1.45 * MS, None, {}),
            (64, 1, MS, 2 * MS, None, {16: (None, 0.5)}),
            (64, 1, MS, 1.4 * MS, None, {}),
        ),
    ),
    "reads that hardly take time tell nothing": (ALL, None, ((99, 1, 9e-5, 9e-4, None, {}),)),
    "nothing is read": (ALL, None, ((99, 1, 0.0, 0.0, None, {}),)),
    "one speed": ((1.0,), None, ((99, 1, MS, 9 * MS, None, {}),)),
    "a prefill is as many tokens": (
        ALL,
        None,
        ((1, 64, 64 * MS, 256 * MS, None, {}), (1, 64, 64 * MS, 256 * MS, None, {1: (None, 0.25)})),
    ),
    "no token": (ALL, 9, ((5, 0, MS, 9 * MS, 1, {}),)),
    "less memory": (
        (1.0,),
        1600,
        ((16, 1, 0.0, 0.0, 1500, {}), (40, 1, 0.0, 0.0, 1499, {16: (1499, 1.0)})),
    ),
    "more memory": (
        (1.0,),
        1600,
        ((16, 1, 0.0, 0.0, 1700, {}), (40, 1, 0.0, 0.0, 1701, {16: (1701, 1.0)})),
    ),
    "memory that comes and goes": (
        (1.0,),
        1600,
        tuple((8, 1, 0.0, 0.0, budget, {}) for budget in (900, 3000) * 5),
    ),
    "both at once": (ALL, 1600, ((40, 1, MS, 4 * MS, 800, {16: (800, 0.25)}),)),
}


def lines_of(case: Case) -> list[str]:
    """The case as the runner's driver reads it, a line for its beginning and one for each run."""
    speeds, budget, steps = case
    lines = [f"{_word(budget)} {' '.join(map(str, speeds))}"]
    for count, tokens, predicted, seconds, room, _ in steps:
        lines += [f"{tokens} {predicted!r} {seconds!r} {_word(room)}"] * count
    return lines


def _word(budget: int | None) -> str:
    return "-" if budget is None else str(budget)
