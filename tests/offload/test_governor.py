"""When a run goes on at another point: by hand."""

from __future__ import annotations

import pytest
from governor_cases import ALL, CASES, MS, Case

from toolkit.offload.governor import WINDOW, Choice, Governor


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_it_goes_on_as_the_case_says(case: Case) -> None:
    speeds, budget, steps = case
    governor = Governor(speeds, Choice(budget, 1.0))
    for count, tokens, predicted, seconds, room, expected in steps:
        found = {}
        for run in range(1, count + 1):
            if governor.observe(tokens, predicted, seconds) and (choice := governor.decide(room)):
                found[run] = (choice.budget, choice.flash)
        assert found == expected


def test_a_budget_that_was_asked_for_is_gone_on_from() -> None:
    governor = Governor(ALL, Choice(None, 1.0))
    governor.use(3000)
    for _ in range(2 * WINDOW):
        if governor.observe(1, MS, 4 * MS):
            choice = governor.decide()
    assert choice == Choice(3000, 0.25) and governor.slowness == pytest.approx(4)
