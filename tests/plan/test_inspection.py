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
    assert "decode (seq = 1, rows = 1): 11 dispatches, 2 of them inside of 2 gathers" in text
    lines = [line.split() for line in decode.splitlines()]
    at = next(number for number, line in enumerate(lines) if line[:1] == ["4"])
    assert lines[at] == ["4", "layers.0.ffn", "gather", "above", "layers.0.ffn"]
    assert lines[at + 1] == ["by", "#3,", "up", "and", "down", "of", "each", "record"]
    assert lines[at + 2] == ["4.0", "layers.0.neurons", "neurons_cpu", "[2]"]
    assert lines[at + 3] == ["ticket,", "slots,", "#2,", "#3"]
    assert lines[at + 5] == ["#4.0"]  # what adds the sums reads what was made inside
    prefill = text[text.index("\nprefill") : text.index("\ndecode")]
    assert "up and down of each record, 16 records at once" in prefill


def test_dispatches_are_all_that_a_phase_launches(flash: Plan) -> None:
    for phase in flash.phases:
        alone = [step for step in phase.steps if isinstance(step, Dispatch)]
        inside = [each for gather in phase.gathers() for each in gather.dispatches]
        count = 10 if phase.name == "score" else 11
        assert len(inside) == 2 and plan_report(flash)["dispatches"][phase.name] == count
        assert {id(each) for each in phase.dispatches()} == {id(each) for each in [*alone, *inside]}
        names = [each.name for each in phase.dispatches()]
        assert names[3:6] == [f"layers.0.{name}" for name in ("gates", "neurons", "add")]
