"""Pieces of a text that are fed one by one, as the plan says, whatever lies in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flash_executors import IDS, Opened, is_right
from flash_toy import FlashToy
from toy import CHUNK

from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.plan.load import load_plan
from toolkit.plan.phase_choice import pieces

LONG = CHUNK + 3
SIZES = {  # most tokens of a short prompt, tokens -> pieces
    (0, 3): [3],
    (3, 1): [1],
    (3, 3): [1, 1, 1],
    (3, 4): [4],
    (3, LONG): [CHUNK, 1, 1, 1],
    (2, LONG): [CHUNK, 3],
    (CHUNK, LONG): [1] * LONG,
    (99, CHUNK): [1] * CHUNK,
}


def short(toy: FlashToy, tokens: int) -> FlashToy:
    if tokens:
        toy.plan["model"]["short_prompt"] = tokens
    toy.save_json()
    return toy


@pytest.mark.parametrize("most, tokens", SIZES)
def test_pieces(flash: FlashToy, most: int, tokens: int) -> None:
    plan = load_plan(short(flash, most).folder)
    assert list(pieces(plan, tokens)) == SIZES[most, tokens]
    assert sum(pieces(plan, tokens, "logits")) == tokens
    assert 1 not in list(pieces(plan, LONG, "logits"))  # rows of scores are computed at once


def test_answers_stay(flash: FlashToy, opened: Opened) -> None:
    short(flash, 3)
    is_right(opened(memory=100_000), flash)


@pytest.mark.parametrize("of", [HostExecutor, RunnerExecutor])
@pytest.mark.parametrize("memory", [100_000, 200_000])
def test_steps_are_those_of_tokens(flash: FlashToy, tmp_path: Path, of: Any, memory: int) -> None:
    """The tail of a long prompt, a short one behind it, and another text; none selects all of the
    first table, as a chunk does."""
    executor = of(short(flash, 3).folder, memory=memory, trace=tmp_path / "trace")
    executor.prefill(IDS, 0)
    assert executor.prefill([7, 8], len(IDS)) == flash.next([*IDS, 7, 8])
    assert executor.prefill([9, 2, 5], 0) == flash.next([9, 2, 5])
    executor.close()
    lines = [json.loads(each) for each in (tmp_path / "trace").read_text().splitlines()]
    phases = [each["g"] for each in lines if each["t"] >= 0 and each["g"] % 2 == 0]
    whole, alone = phases[0], phases[-1]
    assert phases == [whole] + [alone] * (3 + 2 + 3) and whole != alone


def test_of_pieces_but_the_last_nobody_asks_what_comes_next(flash: FlashToy, cache: Path) -> None:
    """The runner leaves out what chooses it; what was fed is known all the same."""
    executor = RunnerExecutor(short(flash, 3).folder, memory=100_000, cache=cache, profile=True)
    executor.prefill([9, 2, 5], 0)  # the first time all of it runs
    executor.start_profile()
    assert executor.prefill([9, 2, 5], 0) == flash.next([9, 2, 5])
    names = [each.name for each in executor.take_profile()]
    executor.close()
    named = [step["name"] for step in flash.plan["phases"][1]["steps"] if "name" in step]
    assert names.count(named[-1]) == 1 and names.count(named[0]) == 3
