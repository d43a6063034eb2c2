"""Which phase runs: one table of questions for the Python class and the runner's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from native import DRIVERS, with_library
from phase_questions import BUFFERS, QUESTIONS, SYMBOLS, Bounds, Questions

from toolkit.plan.phase_choice import PhaseChoice, token_phase
from toolkit.plan.schema import Buffer, HostStep, Phase, Plan, SymbolDecl


def phase_of(name: str, gives: tuple[str, ...], bounds: Bounds) -> Phase:
    steps = tuple(HostStep("fetch", (("buffer", BUFFERS.index(each)),)) for each in gives)
    return Phase(name, "model", bounds, False, (), steps)


def plan_of(questions: Questions) -> Plan:
    symbols = [
        SymbolDecl(name, "input", *bounds, slot)
        for slot, (name, bounds) in enumerate(SYMBOLS.items())
    ]
    empty: Any = SimpleNamespace(
        symbols=[*symbols, SymbolDecl("start", "input", 0, 9, 3, 1)],
        buffers=[Buffer(name, "output", "i32", (), 4) for name in BUFFERS],
        phases=[phase_of(*each) for each in questions.phases],
    )
    empty.box = lambda phase: Plan.box(empty, phase)
    return cast(Plan, empty)


def in_python(questions: Questions) -> list[str | None]:
    choice = PhaseChoice(plan_of(questions))
    found = [
        choice.find(buffer, {"seq": seq, "past": past, "rows": rows})
        for (buffer, seq, past, rows), _ in questions.asked
    ]
    return [phase.name if phase else None for phase in found]


def in_the_runner(questions: Questions) -> list[str | None]:
    lines = ["new"]
    for name, gives, bounds in questions.phases:
        box = [str(n) for symbol, usual in SYMBOLS.items() for n in bounds.get(symbol, usual)]
        given = ",".join(str(BUFFERS.index(each)) for each in gives) or "-"
        lines.append(f"phase {name} {given} {' '.join(box)}")
    for (buffer, *values), _ in questions.asked:
        lines.append(f"ask {BUFFERS.index(buffer)} {' '.join(map(str, values))}")
    program = with_library("phase_drive", DRIVERS / "phase_drive.cpp")
    done = subprocess.run(program, input="\n".join(lines), capture_output=True, text=True)
    return [None if line == "none" else line for line in done.stdout.splitlines()]


@pytest.mark.parametrize("answers", [in_python, in_the_runner])
@pytest.mark.parametrize("questions", QUESTIONS, ids=lambda questions: questions.name)
def test_the_phase_that_runs(
    questions: Questions, answers: Callable[[Questions], list[str | None]]
) -> None:
    assert answers(questions) == [expected for _, expected in questions.asked]


def test_the_phase_of_a_token() -> None:
    found = token_phase(plan_of(QUESTIONS[0]))
    assert found is not None and found.name == "decode"
    assert token_phase(plan_of(QUESTIONS[-1])) is None
