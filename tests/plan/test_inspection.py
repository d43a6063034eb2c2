"""What `inspect` prints of a plan with weights in flash."""

from pathlib import Path

import pytest
from flash_toy import FlashToy

from toolkit.plan.inspection import plan_lines, plan_report
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Dispatch, Plan


@pytest.fixture
def flash(tmp_path: Path) -> Plan:
    return load_plan(FlashToy(tmp_path / "flash toy").folder)


def test_it_says_what_gathers_launch_and_on_what(flash: Plan) -> None:
    text = "\n".join(plan_lines(flash))
    decode = text[text.index("\ndecode") :]
    assert "decode (seq = 1, rows = 1): 12 dispatches, 3 of them inside of 2 gathers" in text
    lines = [line.split() for line in decode.splitlines()]
    at = next(number for number, line in enumerate(lines) if line[:1] == ["4"])
    assert lines[at] == ["4", "layers.0.ffn", "gather", "above", "layers.0.ffn"]
    said = " ".join(lines[at + 1])
    assert said == "by #3, up and down of each record, 4.0 chooses where all lie in memory"
    assert lines[at + 2] == ["4.0", "layers.0.choose", "choose_cpu", "[2]"]
    assert lines[at + 3] == ["→", "rule,", "#3,", "order,", "→", "ticket"]
    assert lines[at + 4] == ["4.1", "layers.0.neurons", "neurons_cpu", "[2]"]
    assert lines[at + 5] == ["ticket,", "slots,", "#2,", "#3"]
    assert lines[at + 7] == ["#4.1"]  # what adds the sums reads what was made inside
    prefill = text[text.index("\nprefill") : text.index("\ndecode")]
    assert "11 dispatches, 2 of them inside of 2 gathers" in prefill
    assert "up and down of each record, 16 records at once" in prefill
    assert "choose" not in prefill


def test_dispatches_are_all_that_a_phase_launches(flash: Plan) -> None:
    for phase in flash.phases:
        alone = [step for step in phase.steps if isinstance(step, Dispatch)]
        inside = [each for gather in phase.gathers() for each in gather.dispatches]
        chosen = [gather.choose for gather in phase.gathers() if gather.choose is not None]
        assert len(inside) == 2 and len(chosen) == (phase.name == "decode")
        count = (10 if phase.name == "score" else 11) + len(chosen)
        assert plan_report(flash)["dispatches"][phase.name] == count
        every = {id(each) for each in [*alone, *inside, *chosen]}
        assert {id(each) for each in phase.dispatches()} == every
        names = [each.name for each in phase.dispatches()]
        order = ("gates", *("choose",) * bool(chosen), "neurons", "add")
        assert names[3 : 3 + len(order)] == [f"layers.0.{name}" for name in order]
