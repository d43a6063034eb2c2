"""What verify measures of a case, and whether that proves the plan right.

All rows of a case together must keep to the limit. Where they do not, and a router's choice was a
near tie, the rows before it must: what comes from it on may follow other experts, and proves
nothing. If less than half of the rows come before it, the case is undecided, which is not ok.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from toolkit.compiler.calibration.reference import Choices
from toolkit.evaluation.inputs import Logits
from toolkit.evaluation.near_ties import first_near_tie


class Bar(NamedTuple):
    """What a precision, f32 or f16, is held to."""

    precision: str
    limit: float  # NMSE must be below it

    @property
    def roundoff(self) -> float:
        """The unit roundoff: half the distance from 1 to the next number."""
        return {"f32": 2.0**-24, "f16": 2.0**-11}[self.precision]

    def passes(self, figures: dict[str, Any]) -> bool:
        """Whether figures of `measure` keep to it."""
        return figures["nmse"] is not None and figures["nmse"] < self.limit


def judge(
    ours: Logits, theirs: Logits, first: int, choices: Iterable[Choices], bar: Bar
) -> dict[str, Any]:
    """Figures of all rows, of tokens from the place `first` on, and what they prove.

    near_tie     behind which rows are not judged; null if all are
    rows         how many there are; judged_rows: how many of them are judged
    judged_nmse  of these; null if there are none, or if they aren't numbers
    ok           true, false, or null: too few rows are judged
    """
    figures, rows = measure(ours, theirs), len(theirs)
    lost = not bar.passes(figures) and figures["nmse"] is not None
    tie = first_near_tie(choices, bar.roundoff) if lost else None
    judged = rows if tie is None else min(max(tie.token - first, 0), rows)
    # a tie after the last row excuses none of them
    tie = tie if judged < rows else None
    known = figures if judged == rows else None
    if 0 < judged < rows:
        known = measure(ours[:judged], theirs[:judged])
    failed = known is not None and not bar.passes(known)
    return {
        **figures,
        "rows": rows,
        "judged_rows": judged,
        "judged_nmse": None if known is None else known["nmse"],
        "near_tie": None if tie is None else tie.facts,
        "ok": False if failed else True if 2 * judged >= rows else None,
    }


def measure(ours: Logits, reference: Logits) -> dict[str, Any]:
    """max_abs_err, nmse = Σ(a-b)²/Σb², and the share of rows whose largest logit is the same."""
    a, b = ours.astype(np.float64), reference.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):  # JSON has no NaN
        return {"max_abs_err": None, "nmse": None, "top1_match": 0.0}
    error = a - b
    return {
        "max_abs_err": float(np.abs(error).max()),
        "nmse": float((error**2).sum() / max((b**2).sum(), 1e-30)),
        "top1_match": float(np.mean(a.argmax(-1) == b.argmax(-1))),
    }


def unjudged(case: dict[str, Any], precision: str) -> Iterator[str]:
    """For people: which rows of a case prove nothing, and why."""
    tie = case.get("near_tie")  # the original model's cases have none
    if tie is None:
        return
    rows, judged = case["rows"], case["judged_rows"]
    of = "mixture" if tie["kind"] in ("experts", "groups") else "mask"
    other = "the threshold" if tie["other"] is None else tie["other"]
    pair = f"{tie['kind']} {tie['chosen']} and {other} of {of} {tie['mixture']}"
    halves = {"f16": "halves", "f32": "floats"}[precision]
    yield f"token {tie['token']}: {pair} are {tie['gap']:.2g} apart, which {halves} can't tell"
    yield f"{rows - judged} of {rows} rows, from it on, aren't judged" + (
        ""
        if case["judged_nmse"] is None
        else f"; NMSE of those before it {case['judged_nmse']:.1e}"
    )


def verdict(cases: list[dict[str, Any]], bar: Bar) -> str:
    """For people: the last line of a report."""
    below = f"NMSE must be below {bar.limit:.0e} for {bar.precision}"
    if all(case["ok"] for case in cases):
        return f"ok: {below}"
    if any(case["ok"] is False for case in cases):
        return f"FAILED: {below}"
    names = ", ".join(case["name"] for case in cases if case["ok"] is None)
    return (
        f"UNDECIDED: too few rows of {names} come before a near tie; compile with "
        "--activations f32 --kv f32 to judge the others"
    )
