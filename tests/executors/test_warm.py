"""What was in memory when a run ended is what the next one begins with; and whatever its file says,
answers are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_executors import IDS
from flash_toy import F, FlashToy
from spoiled_warm import SPOILED

from toolkit import paths
from toolkit.executors import target
from toolkit.executors.host import HostExecutor
from toolkit.executors.opencl.gather import warm_set
from toolkit.executors.opencl.gather.warm_set import WarmSet
from toolkit.executors.runner import RunnerExecutor
from toolkit.executors.target import ThisComputer
from toolkit.offload.access_trace import line, opening_line
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine
from toolkit.offload.points import choose_point
from toolkit.offload.selection import at_point
from toolkit.plan.load import load_plan, plan_digest

LITTLE = 100_000
EXECUTORS = (HostExecutor, RunnerExecutor)


def ran(of: Any, toy: FlashToy, memory: int | None = LITTLE, **options: Any) -> dict[str, Any]:
    """A text from the start; what was counted."""
    executor = of(toy.folder, memory=memory, **options)
    try:
        first = executor.prefill(IDS, 0)
        ids = [first, *executor.decode(first, len(IDS), 8, ())]
        assert ids == toy.continued(IDS, 9)
        told: dict[str, Any] = executor.stats()["tables"]
        return told
    finally:
        executor.close()


def warm_of(toy: FlashToy, folder: Path) -> WarmSet:
    return WarmSet(folder, plan_digest(toy.folder), load_plan(toy.folder).tables)


def some(*counts: int) -> list[np.ndarray]:
    """Records of each table in some order."""
    random = np.random.default_rng(sum(counts))
    return [random.permutation(F)[:count] for count in counts]


def test_both_executors_keep_the_same(flash: FlashToy, tmp_path: Path) -> None:
    """And begin with it: what they have read until then is the same."""
    files = []
    for of in EXECUTORS:
        folder = tmp_path / of.__name__
        assert ran(of, flash, warm=folder)["warm_records"] == 0
        files.append(folder / plan_digest(flash.folder))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[1].stat().st_mode & 0o022 == 0
    found = warm_of(flash, files[1].parent).read()
    assert [len(records) for records in found] == [11, 9]  # all slots
    assert found[0][:3].tolist() == [0, 1, 2]  # pinned
    warm = ran(RunnerExecutor, flash, warm=files[0].parent)
    assert warm["warm_records"] == 11 - 3 + 9 and warm["ahead_bytes"] > 0


@pytest.mark.parametrize(
    "of, memory",
    [
        (HostExecutor, LITTLE),
        (RunnerExecutor, 98_000),
        (RunnerExecutor, LITTLE),
        (RunnerExecutor, 150_000),
    ],
)
def test_a_warm_run_is_the_machines(flash: FlashToy, tmp_path: Path, of: Any, memory: int) -> None:
    """With more slots than the set has records and with fewer: the same lines, and in front one of
    each table, of what was read ahead."""
    folder, trace, found = tmp_path / "warm", tmp_path / "trace", some(20, 5)
    warm_of(flash, folder).write(found)
    told = ran(of, flash, memory, warm=folder, trace=trace)

    plan, point = load_plan(flash.folder), choose_point(load_plan(flash.folder), memory)
    orders = [flash.layers[0].order, None]
    machine = Machine(plan.tables, point, Flash("none"), orders, warm=found)
    tables = zip(plan.tables, machine.opening, strict=True)
    expected = [opening_line(number, *each) for number, each in enumerate(tables)]
    scores = iter(np.fromfile(tmp_path / "trace.scores", np.float32).reshape(-1, F))
    rules, numbers = dict[str, list[Any]](), enumerate(point.select)
    for phase in plan.phases:
        own = zip(phase.gathers(), numbers, strict=False)
        rules[phase.name] = [(g, at, at_point(g.select, value)) for g, (at, value) in own]
    for step, name in enumerate(["prefill"] * 2 + ["decode"] * 8):
        for gather, number, rule in rules[name]:
            given = None if rule.by == "all" else next(scores)
            outcome = machine.gather(gather.table, rule, given, step, gather.tile)
            expected.append(line(step, number, outcome))
    assert trace.read_text().splitlines() == expected

    opened = [json.loads(each) for each in expected[:2]]
    assert told["ahead_bytes"] == sum(each["read"] for each in opened)
    assert told["ahead_reads"] == sum(len(each["runs"]) for each in opened)
    rooms = [int(slots - pinned) for slots, pinned in zip(point.slots, point.pinned, strict=True)]
    fitting = zip(rooms, found, point.pinned, strict=True)
    warm = sum(min(room, int((records >= pinned).sum())) for room, records, pinned in fitting)
    assert told["warm_records"] == warm > 0


def test_what_is_always_pinned_needs_no_file(flash: FlashToy, tmp_path: Path) -> None:
    """Nor does a run that computed nothing leave one."""
    for of in EXECUTORS:
        ran(of, flash, None, warm=tmp_path / "warm")
    RunnerExecutor(flash.folder, memory=LITTLE, warm=tmp_path / "warm").close()
    assert not (tmp_path / "warm").exists()


@pytest.mark.parametrize("name", SPOILED)
def test_a_file_that_says_something_else_is_none(
    flash: FlashToy, tmp_path: Path, name: str
) -> None:
    """The runner's: tests/runner/test_flash_gather.py, by the same table."""
    kept = warm_of(flash, tmp_path / "warm")
    kept.write(some(20, 5))
    assert [each.tolist() for each in kept.read()] == [each.tolist() for each in some(20, 5)]
    SPOILED[name](tmp_path / "warm" / plan_digest(flash.folder))
    assert kept.read() == []


def test_a_folder_that_cannot_be_made(flash: FlashToy, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for of in EXECUTORS:
        ran(of, flash, warm=tmp_path / "file" / "warm")


def test_a_full_disk_leaves_what_was_there(
    flash: FlashToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner's: tests/runner/test_gather.py."""
    kept = warm_of(flash, tmp_path / "warm")
    kept.write(some(4, 5))

    def full(path: Path) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(warm_set, "replacing", full)
    kept.write(some(6, 7))
    assert len(kept.read()[0]) == 4


def test_off_and_auto(tmp_path: Path) -> None:
    here = ThisComputer()
    assert here.warm("off") == "" and paths.warm_dir() == paths.cache_dir() / "warm"
    assert here.warm("auto") == here.warm("auto") == str(target.warm_dir())  # a test has its own
    assert target.warm_dir() != paths.warm_dir()
    assert here.warm(tmp_path / "x") == str(tmp_path / "x")
