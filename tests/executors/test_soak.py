"""Thousands of tokens of one text, rewound again and again, while its memory changes at random."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flash_toy import RECORD, FlashToy
from large_toy import REST, large
from soak import TEXT, TOKENS, rss
from toy import C

from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.offload.points import choose_point
from toolkit.plan.table_figures import slot_bytes

pytestmark = pytest.mark.slow
COUNT = 20_000  # records of each of two tables
FLAT = 4 << 20  # bytes, the allocators' own ups and downs
QUARTERS = [REST + n * 2 * COUNT * RECORD.nbytes // 4 for n in range(5)]


def on_a_runner(folder: Path) -> tuple[FlashToy, Any, str, Callable[[], int]]:
    """With so many records that memory tells of their slots; any budget is met, often the same."""
    toy = large(folder, COUNT)
    for point in toy.plan["points"]:  # a token doesn't take long where most is streamed
        point |= {"cluster": 4096, "max_read": 1 << 20}
    toy.save_json()
    executor = RunnerExecutor(toy.folder)
    assert executor._process
    any_of = range(REST, QUARTERS[-1])
    dice = random.Random(1)

    def budget() -> int:
        return dice.choice((*QUARTERS, dice.choice(any_of)))

    return toy, executor, str(executor._process._child.pid), budget


def on_the_host(folder: Path) -> tuple[FlashToy, Any, str, Callable[[], int]]:
    """It takes long for a token: few records."""
    toy, dice = FlashToy(folder), random.Random(2)
    return toy, HostExecutor(toy.folder), "self", lambda: dice.randrange(97_000, 310_000)


def texts(executor: Any, text: list[int], count: int, budget: Callable[[], int]) -> Iterator[int]:
    """Goes on with the text from anywhere; yields the budget at the end of each try."""
    dice, told, last = random.Random(3), 0, 0
    while told < count:
        past = dice.randrange(len(TEXT), C - 1)
        changes = dice.randrange(C - past)
        if dice.random() < 0.1:
            assert executor.prefill(text[:past], 0) == text[past]
        last = budget() if last == 0 or dice.random() < 0.2 else last
        executor.budget(last)
        ids = []
        for at, token in enumerate(executor.decode(text[past], past, C - past, ())):
            ids.append(token)
            if at == changes:
                last = budget()
                executor.budget(last)
        assert ids == text[past + 1 :]
        told += len(ids)
        yield last


def things(process: str) -> tuple[int, int]:
    """Threads and open files."""
    task, fd = (len(os.listdir(f"/proc/{process}/{each}")) for each in ("task", "fd"))
    return task, fd


@pytest.mark.parametrize("begun", [on_a_runner, on_the_host])
def test_memory_that_changes_at_random(
    tmp_path: Path, begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are those of all weights; slots are as the budget has them, and nothing grows."""
    monkeypatch.setenv("POCL_EXTRA_BUILD_FLAGS", "")  # else tokens take long
    toy, executor, process, budget = begun(tmp_path / "toy")
    text = [*TEXT, *toy.continued(TEXT, C + 1 - len(TEXT))]
    assert executor.prefill(TEXT, 0) == text[len(TEXT)]
    assert list(executor.decode(text[len(TEXT)], len(TEXT), C, ())) == text[len(TEXT) + 1 :]
    held, seen = dict[int, list[int]](), list[tuple[int, int]]()
    for last in texts(executor, text, TOKENS, budget):
        tables, point = executor.stats()["tables"], choose_point(executor.plan, last)
        assert tables["memory"] == point.memory <= last
        assert tables["record_bytes"] == slot_bytes(executor.plan, point.slots)
        assert len(tables["points_used"]) <= 64
        held.setdefault(last if last in QUARTERS else 0, []).append(rss(process))
        seen.append(things(process))
    assert set(seen[len(seen) // 4 :]) == {seen[-1]}
    for memory in held.values():
        later = memory[len(memory) // 4 :]
        assert later[-1] - later[0] < FLAT, held
    executor.close()
    for quarter in QUARTERS if process != "self" else ():
        [*_, whole], [*_, now] = held[QUARTERS[-1]], held[quarter]
        assert abs(whole - (QUARTERS[-1] - quarter) - now) < FLAT, (quarter, held)
