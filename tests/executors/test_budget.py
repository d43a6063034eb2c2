"""A budget that changes while a plan runs: answers stay, traces are the machine's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_executors import IDS, Opened, is_right
from flash_replay import replayed
from flash_toy import FILE, F, FlashToy

from toolkit.errors import PocketError
from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.offload.points import choose_point

BUDGETS = (300_000, 98_000, 150_000, 97_531, 250_000, 100_000, 200_000)


def told(executor: Any) -> Any:
    return executor.stats()["tables"]


def unlike(toy: FlashToy) -> None:
    """Points that differ in all that they may."""
    for point, cluster in zip(toy.plan["points"], (3, 8, F), strict=True):
        point |= {"cluster": cluster, "threads": 1 + cluster % 3}
        point["max_read"] = 4096 * (2 + cluster % 5)
    toy.save_json()


def test_answers_are_those_of_all_weights(flash: FlashToy, opened: Opened) -> None:
    unlike(flash)
    executor = opened(memory=100_000)
    for budget in BUDGETS:
        taken = executor.budget(budget)
        assert taken == choose_point(executor.plan, budget).memory == told(executor)["memory"]
        is_right(executor, flash, 3)


def test_it_changes_between_two_tokens(flash: FlashToy, opened: Opened) -> None:
    unlike(flash)
    executor, count = opened(), 15
    first, taken = executor.prefill(IDS, 0), list[int]()
    ids = list[int]()
    for budget, token in zip(
        (BUDGETS * 3)[:count], executor.decode(first, len(IDS), count, ()), strict=True
    ):
        taken.append(executor.budget(budget))
        ids.append(token)
    assert ids == flash.continued([*IDS, first], count)
    assert taken == [executor.budget(budget) for budget in (BUDGETS * 3)[:count]]
    assert executor.stop_reason == "length"


def test_too_little_changes_nothing(flash: FlashToy, opened: Opened) -> None:
    executor = opened(memory=200_000)
    first = executor.prefill(IDS, 0)
    before = told(executor)
    with pytest.raises(PocketError) as raised:
        executor.budget(90_000)
    assert raised.value.what == "the plan does not run in 90000 bytes"
    assert told(executor) == before
    assert executor.budget("95%") > 200_000 and executor.budget(200_000) == 200_000
    assert list(executor.decode(first, len(IDS), 3, ())) == flash.continued([*IDS, first], 3)


def test_pinned_records_that_cannot_be_read(flash: FlashToy, opened: Opened) -> None:
    """They are in no slot: what is read later is right."""
    executor = opened(memory=98_000)
    first = executor.prefill(IDS, 0)
    file = flash.folder / FILE
    content = file.read_bytes()
    with file.open("r+b") as whole:
        whole.truncate(8192)
    with pytest.raises(PocketError) as raised:
        executor.budget(300_000)
    assert FILE in raised.value.what
    with file.open("r+b") as whole:
        whole.write(content)
    assert list(executor.decode(first, len(IDS), 5, ())) == flash.continued([*IDS, first], 5)


def test_a_runner_that_is_started_again_keeps_to_it(flash: FlashToy, cache: Path) -> None:
    """With the phases that score."""
    executor = RunnerExecutor(flash.folder, cache=cache)
    taken = executor.budget(150_000)
    executor.score(IDS, 0)
    assert told(executor)["memory"] == taken < 150_000
    executor.close()


@pytest.mark.parametrize("of", [HostExecutor, RunnerExecutor])
def test_traces_are_the_machines(flash: FlashToy, tmp_path: Path, of: Any) -> None:
    """Scores and budgets of the run, given to the machine alone, make the same lines."""
    unlike(flash)
    executor = of(flash.folder, memory=150_000, trace=tmp_path / "trace")
    token, past = executor.prefill(IDS, 0), len(IDS)
    for budget in (*BUDGETS, *BUDGETS):
        executor.budget(budget)
        token = list(executor.decode(token, past, 2, ()))[-1]
        past += 2
    executor.close()
    lines = list(map(json.loads, (tmp_path / "trace").read_text().splitlines()))
    scores = np.fromfile(tmp_path / "trace.scores", np.float32).reshape(-1, F)
    assert lines == list(replayed(flash, lines, iter(scores), 150_000))
    moved = [move for line in lines for moves in line.get("move", ()) for move in moves]
    assert sum("budget" in line for line in lines) == 2 * len(BUDGETS) and len(moved) > 5
