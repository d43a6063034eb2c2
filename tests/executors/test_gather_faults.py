"""Weights in flash that cannot be read, or written about: one error, and no slot that lies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from flash_executors import IDS, MEMORIES, Opened, is_right
from flash_toy import FILE, RECORD, STRIDES, FlashToy

from toolkit.errors import PocketError
from toolkit.executors.host import HostExecutor
from toolkit.executors.opencl.gather.flash_files import FlashFiles
from toolkit.offload.access_trace import AccessTrace


def held() -> list[str]:
    """Names of open files of records and traces."""
    found = list[str]()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that by which they are listed
            found.append(Path(os.readlink(each)).name)
    return sorted({FILE, "full", "trace", "trace.scores"} & set(found))


def test_a_trace_that_cannot_be_written(
    flash: FlashToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No slot holds what was never read. The runner's: tests/runner/test_gather.py."""
    executor = HostExecutor(flash.folder, memory=100_000, trace=tmp_path / "trace")
    with monkeypatch.context() as patched, pytest.raises(PocketError, match="full"):
        patched.setattr(AccessTrace, "write", Mock(side_effect=PocketError("full")))
        executor.prefill(IDS, 0)
    is_right(executor, flash, 3)
    executor.close()


def test_a_trace_without_room_says_so(flash: FlashToy, tmp_path: Path) -> None:
    """Nor is it the device's failure; and the rest is closed."""
    (tmp_path / "trace").symlink_to("/dev/full")
    executor = HostExecutor(flash.folder, trace=tmp_path / "trace")
    assert held() == [FILE, "full", "trace.scores"]
    with pytest.raises(PocketError, match="cannot write the trace"):
        for _ in range(99):  # until what has gathered is written
            executor.prefill(IDS, 0)
    with contextlib.suppress(PocketError):  # what is left may be as much as it can't write
        executor.close()
    assert not held()


def test_an_executor_that_cannot_begin_keeps_no_file_open(
    flash: FlashToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FlashFiles, "read", Mock(side_effect=PocketError("cut")))
    with pytest.raises(PocketError, match="cut"):
        HostExecutor(flash.folder, trace=tmp_path / "trace")
    assert not held()


def test_a_device_that_fails_at_the_end_leaves_no_file_open(flash: FlashToy) -> None:
    executor = HostExecutor(flash.folder)
    failing = Mock(wraps=executor.phases._queue, finish=Mock(side_effect=OSError("lost")))
    executor.phases._queue = failing
    with pytest.raises(PocketError, match="the device failed"):
        executor.close()
    assert not held()


def test_a_plan_does_not_run_in_less_than_it_takes_without_records(
    flash: FlashToy, opened: Opened
) -> None:
    least = 100_000 - (11 + 9) * RECORD.nbytes
    is_right(opened(memory=least), flash, 3)
    with pytest.raises(PocketError, match=f"not run in {least - 1} bytes") as caught:
        opened(memory=least - 1)
    assert f"{least} with no record" in caught.value.because
    assert f"--memory {least}" in caught.value.hint


def test_an_order_has_each_index_once(flash: FlashToy, opened: Opened) -> None:
    flash.layers[0].order[3] = flash.layers[0].order[4]
    flash.save()
    with pytest.raises(PocketError, match="damaged") as caught:
        opened()
    assert "order does not have each of 0 to 64 once" in caught.value.because


@pytest.mark.parametrize("memory", MEMORIES[:2])
def test_a_file_cut_under_a_session(flash: FlashToy, opened: Opened, memory: int) -> None:
    """One error, which names file and offset; whole again, the file gives right answers: no slot
    holds what never came."""
    executor, file = opened(memory=memory), flash.folder / FILE
    first = executor.prefill(IDS, 0)
    whole = file.read_bytes()
    for kept in (5000, 0, 30 * STRIDES[1] + 77):
        with file.open("r+b") as stream:  # the same file, not another of its name
            stream.truncate(kept)
        with pytest.raises(PocketError) as caught:
            list(executor.decode(first, len(IDS), 9, ()))
        assert caught.value.what.startswith(f"{file} can't be read at byte ")
        assert int(caught.value.what.split()[-1]) >= kept and "cut" in caught.value.because
        with file.open("r+b") as stream:
            stream.write(whole)
        is_right(executor, flash)


@pytest.mark.parametrize("verb", ["prefill", "step", "decode", "score"])
def test_what_failed_to_run_is_no_text(
    flash: FlashToy, opened: Opened, tmp_path: Path, verb: str
) -> None:
    """Nobody goes on from states that were never filled; fed again, ids are right."""
    executor, file = opened(memory=100_000), flash.folder / FILE
    executor.prefill(IDS, 0)
    executor.score(IDS[:1], len(IDS))  # with all that is loaded later
    calls: dict[str, Callable[[], Any]] = {
        "prefill": lambda: executor.prefill(IDS[:3], 6),
        "step": lambda: executor.step(8, 6),
        "decode": lambda: list(executor.decode(8, 6, 3, ())),
        "score": lambda: executor.score(IDS[:3], 6),
    }
    whole = file.read_bytes()
    os.truncate(file, 0)
    with pytest.raises(PocketError, match="can't be read"):
        calls[verb]()
    assert executor.history.first(executor.history.length) == IDS[:6]
    executor.save_state(tmp_path / "held", 6, {})
    with pytest.raises(PocketError, match="there are no 7 positions"):
        executor.save_state(tmp_path / "more", 7, {})
    with file.open("r+b") as stream:
        stream.write(whole)
    assert executor.prefill([8, 2], 6) == flash.next([*IDS[:6], 8, 2])


def test_a_missing_file_of_a_table(flash: FlashToy, opened: Opened) -> None:
    (flash.folder / FILE).unlink()
    with pytest.raises(PocketError, match=f"{FILE} is missing"):
        opened()


def test_a_point_without_its_engine_changes_nothing(flash: FlashToy) -> None:
    """It is refused before any record has another place."""
    for phase in flash.plan["phases"]:
        for step in phase["steps"]:
            step.pop("unit", None)  # so that threads compute nothing
    flash.plan["points"][1]["engine"] = "both"
    flash.save_json()
    executor = HostExecutor(flash.folder, memory=100_000)
    is_right(executor, flash, 3)
    with pytest.raises(PocketError, match="threads compute nothing"):
        executor.budget(200_000)
    is_right(executor, flash, 3)
    assert executor.stats()["tables"]["memory"] == 100_000
    executor.close()
