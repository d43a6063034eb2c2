"""Weights in flash: the toy with two tables on both executors, against itself in numpy."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from flash_toy import FILE, RECORD, STRIDES, F, FlashToy
from toy import CHUNK

from toolkit.errors import PocketError
from toolkit.executors.dump import Dumped
from toolkit.executors.host import HostExecutor
from toolkit.executors.opencl.flash_files import FlashFiles
from toolkit.executors.opencl.gather import Gatherer, Piece
from toolkit.executors.runner import RunnerExecutor
from toolkit.offload.access_trace import AccessTrace, line
from toolkit.offload.counts import Counts
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine
from toolkit.offload.points import choose_point
from toolkit.offload.selection import at_point
from toolkit.plan.load import load_plan
from toolkit.plan.schema import POLICIES, Point, Select

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
MEMORIES = (98_000, 150_000, 200_000, None)
Opened = Callable[..., Any]


@pytest.fixture
def flash(tmp_path: Path) -> FlashToy:
    return FlashToy(tmp_path / "flash toy")


@pytest.fixture(params=["host", "runner"])
def opened(request: pytest.FixtureRequest, flash: FlashToy, cache: Path) -> Iterator[Opened]:
    """Opens executors of the toy and closes them."""
    with contextlib.ExitStack() as closing:

        def open_one(**options: Any) -> Any:
            if request.param == "host":
                found: Any = HostExecutor(flash.folder, **options)
            else:
                found = RunnerExecutor(flash.folder, ("score",), cache=cache, **options)
            closing.callback(found.close)
            return found

        yield open_one


def is_right(executor: Any, toy: FlashToy, count: int = 9) -> None:
    """Prefill in chunks, a forced step, decoding, a rewind and scores."""
    first = executor.prefill(IDS, 0)
    np.testing.assert_allclose(executor.logits(), toy.logits(IDS)[-1], rtol=1e-4, atol=1e-3)
    assert list(executor.decode(first, len(IDS), count, ())) == toy.continued([*IDS, first], count)
    assert executor.step(7, 4) == toy.next([*IDS[:4], 7])
    scores = executor.score(IDS, 0)
    np.testing.assert_allclose(scores, toy.logits(IDS), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("memory", MEMORIES)
def test_answers_are_those_of_all_weights(
    flash: FlashToy, opened: Opened, memory: int | None
) -> None:
    is_right(opened(memory=memory), flash)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_changes_answers(flash: FlashToy, opened: Opened, policy: str) -> None:
    for point in flash.plan["points"]:
        point["policy"] = policy
    flash.save_json()
    is_right(opened(memory=100_000), flash)


@pytest.mark.parametrize("cluster, gap, most", [(1, 0, 8192), (F, 8192, 2**20), (7, 4096, 8192)])
def test_neither_clusters_nor_reads_change_answers(
    flash: FlashToy, opened: Opened, cluster: int, gap: int, most: int
) -> None:
    for point in flash.plan["points"]:
        point |= {"cluster": cluster, "gap": gap, "max_read": most}
    flash.save_json()
    is_right(opened(memory=100_000), flash, 3)


def test_launches_may_be_as_large_as_a_ticket(flash: FlashToy, opened: Opened) -> None:
    for phase in flash.plan["phases"]:
        for number in (4, 7):
            variant = phase["steps"][number]["dispatches"][0]["variants"][0]
            variant["global"] = [["records", 1, "+"]]
    flash.save_json()
    is_right(opened(memory=100_000), flash, 3)


def test_nothing_selected_adds_nothing(flash: FlashToy, opened: Opened) -> None:
    """Its sums are 0, whatever was there."""
    for point in flash.plan["points"]:
        point["select"] = [1e9] * len(point["select"])
    flash.save_json()
    executor = opened(memory=100_000)
    executor.prefill(IDS, 0)
    flash.layers[0].gate[:] = 0  # as if; that of the second is not selected by
    executor.step(8, len(IDS))
    expected = flash.logits([*IDS, 8])[-1]
    np.testing.assert_allclose(executor.logits(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("of", [HostExecutor, RunnerExecutor])
def test_no_step_is_read_for_in_vain(flash: FlashToy, tmp_path: Path, of: Any) -> None:
    """The last id ends a text before another step reads."""
    trace, expected = tmp_path / "trace", flash.continued(IDS, 4)
    executor = of(flash.folder, memory=100_000, trace=trace)
    first, *others = executor.prefill(IDS, 0), *expected[1:]
    stop = others[-1]
    assert stop not in others[:-1]
    assert list(executor.decode(first, len(IDS), 9, (stop,))) == others
    executor.close()
    steps = {json.loads(line)["t"] for line in trace.read_text().splitlines()}
    assert len(steps) == -(-len(IDS) // CHUNK) + len(others)


def test_a_source_may_have_more_numbers_than_indices(flash: FlashToy, opened: Opened) -> None:
    for phase in flash.plan["phases"][1:2]:
        bound = {"shape": [F + 7], "size": 4 * (F + 7), "bytes": 4 * (F + 7)}
        phase["scratch"][2] |= bound
    for point in flash.plan["points"]:
        point["select"] = [-1e9] * len(point["select"])  # what lies behind them, too
    flash.save_json()
    is_right(opened(memory=100_000), flash, 3)


def rules(toy: FlashToy, point: Point) -> dict[str, list[tuple[int, Select, int]]]:
    """Of each phase: table, rule and tile of its gathers."""
    plan, numbers = load_plan(toy.folder), iter(point.select)
    return {
        phase.name: [(g.table, at_point(g.select, next(numbers)), g.tile) for g in phase.gathers()]
        for phase in plan.phases
    }


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("of", [HostExecutor, RunnerExecutor])
def test_trace_is_the_machines(
    flash: FlashToy, tmp_path: Path, of: Any, memory: int | None
) -> None:
    """Scores of the run, given to the machine alone, make the same lines."""
    executor = of(flash.folder, memory=memory, trace=tmp_path / "trace")
    first = executor.prefill(IDS, 0)
    list(executor.decode(first, len(IDS), 20, ()))
    executor.close()
    lines = (tmp_path / "trace").read_text().splitlines()
    scores = iter(np.fromfile(tmp_path / "trace.scores", np.float32).reshape(-1, F))

    plan, found = load_plan(flash.folder), list[str]()
    point = choose_point(plan, memory)
    machine = Machine(plan.tables, point, Flash("none"), [flash.layers[0].order, None])
    for step, phase in enumerate(["prefill"] * 2 + ["decode"] * 20):
        for number, (table, rule, tile) in enumerate(rules(flash, point)[phase]):
            given = None if rule.by == "all" else next(scores)
            outcome = machine.gather(table, rule, given, step, tile)
            found.append(line(step, number, outcome))
    assert lines == found and next(scores, None) is None
    selected = {len(json.loads(each)["sel"]) for each in lines}
    assert F in selected and len(selected) > 2  # all of them, and fewer


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


def test_halves_are_counted_when_a_gather_is_done(flash: FlashToy, cache: Path) -> None:
    """Once, whatever the launches that it took."""
    for phase in flash.plan["phases"]:
        phase["scratch"][3]["dtype"] = "f16"  # of any bits
    flash.save_json()
    found = []
    for of in (HostExecutor, RunnerExecutor):
        executor: Any = of(flash.folder, memory=100_000)
        first = executor.prefill(IDS, 0)
        executor.start_halves()
        list(executor.decode(first, len(IDS), 20, ()))
        found.append(executor.take_halves())
        executor.close()
    assert found[0] == found[1] and [each["value"] for each in found[0]] == ["part"]
    assert found[0][0]["not_finite"] > 2


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


def test_pinned_records_come_a_read_at_a_time(
    flash: FlashToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all of them in memory, and then once more in their slots."""
    placed, place = list[int](), Gatherer._place

    def counted(self: Gatherer, memory: Any, table: int, content: list[Piece], *of: Any) -> None:
        placed.append(sum(len(piece.content) for piece in content))
        place(self, memory, table, content, *of)

    with monkeypatch.context() as patched:
        patched.setattr(Gatherer, "_place", counted)
        executor = HostExecutor(flash.folder)
    assert len(placed) > 2 and max(placed) <= max(p["max_read"] for p in flash.plan["points"])
    is_right(executor, flash, 3)
    executor.close()


def test_a_device_that_fails_at_the_end_leaves_no_file_open(flash: FlashToy) -> None:
    executor = HostExecutor(flash.folder)
    failing = Mock(wraps=executor.phases._queue, finish=Mock(side_effect=OSError("lost")))
    executor.phases._queue = failing
    with pytest.raises(PocketError, match="the device failed"):
        executor.close()
    assert not held()


def held() -> list[str]:
    """Names of open files of records and traces."""
    found = list[str]()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that by which they are listed
            found.append(Path(os.readlink(each)).name)
    return sorted({FILE, "full", "trace", "trace.scores"} & set(found))


def test_dumps_show_what_a_gather_wrote(flash: FlashToy) -> None:
    seen = list[Dumped]()
    executor = HostExecutor(flash.folder, dump=("part",), sink=seen.append)
    executor.prefill(IDS[:3], 0)
    executor.close()
    assert [each.dispatch for each in seen] == ["layers.0.neurons", "layers.1.neurons"]
    assert seen[0].value.shape == (2, 3, 16) and np.abs(seen[0].value).max() > 0


def test_a_plan_does_not_run_in_less_than_it_takes_without_records(
    flash: FlashToy, opened: Opened
) -> None:
    least = 100_000 - (11 + 9) * RECORD.nbytes
    is_right(opened(memory=least), flash, 3)
    with pytest.raises(PocketError, match=f"not run in {least - 1} bytes") as caught:
        opened(memory=least - 1)
    assert f"{least} with no record" in caught.value.because
    assert f"--memory {least}" in caught.value.hint


def test_both_executors_keep_to_the_same_point(flash: FlashToy, cache: Path) -> None:
    """What they read at the start, and at each gather, is told by the same counts."""
    for memory in (97_531, 101_234, 250_000, "95%"):
        found = list[Counts]()
        for of in (HostExecutor, RunnerExecutor):
            executor: Any = of(flash.folder, memory=memory)
            list(executor.decode(executor.prefill(IDS, 0), len(IDS), 5, ()))
            found.append(replace(Counts.of(executor.stats()), waited_s=0.0))
            executor.close()
        assert found[0] == found[1] and found[0].reads > 0


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
