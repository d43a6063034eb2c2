"""Weights in flash: the toy with two tables on both executors, against itself in numpy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_executors import IDS, MEMORIES, Opened, is_right
from flash_replay import replayed
from flash_toy import F, FlashToy
from toy import CHUNK

from toolkit.errors import PocketError
from toolkit.executors.dump import Dumped
from toolkit.executors.host import HostExecutor
from toolkit.executors.opencl.gather.flash_files import Piece
from toolkit.executors.opencl.gather.record_reads import RecordReads
from toolkit.executors.runner import RunnerExecutor
from toolkit.offload.access_trace import line
from toolkit.offload.counts import Counts
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine
from toolkit.offload.points import choose_point
from toolkit.offload.selection import at_point
from toolkit.plan.load import load_plan
from toolkit.plan.schema import POLICIES, Point, Select


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
def test_some_are_computed_without_being_selected(flash: FlashToy, tmp_path: Path, of: Any) -> None:
    """Those that the gate leaves out add nothing, so answers stay; traces are the machine's."""
    for point, count in zip(flash.plan["points"], (3, 7, 7), strict=True):
        point["dense"] = [count, 0]
    flash.save_json()
    executor = of(flash.folder, memory=100_000, trace=tmp_path / "trace")
    is_right(executor, flash)
    executor.budget(200_000)
    is_right(executor, flash, 3)
    executor.close()
    lines = list(map(json.loads, (tmp_path / "trace").read_text().splitlines()))
    scores = iter(np.fromfile(tmp_path / "trace.scores", "<f4").reshape(-1, F))
    assert lines == list(replayed(flash, lines, scores, 100_000))
    chosen = [each["sel"] for each in lines if each.get("g") == 2]
    assert {tuple(each[:3]) for each in chosen} == {(0, 1, 2)} and len(chosen) > 3


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


def rules(toy: FlashToy, point: Point) -> dict[str, list[tuple[int, int, Select, int]]]:
    """Of each phase: number, table, rule and tile of its gathers."""
    plan, found = load_plan(toy.folder), dict[str, list[tuple[int, int, Select, int]]]()
    gathers = [(phase.name, gather) for phase in plan.phases for gather in phase.gathers()]
    for i, ((name, g), number) in enumerate(zip(gathers, point.select, strict=True)):
        found.setdefault(name, []).append((i, g.table, at_point(g.select, number), g.tile))
    return found


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
        for number, table, rule, tile in rules(flash, point)[phase]:
            given = None if rule.by == "all" else next(scores)
            outcome = machine.gather(table, rule, given, step, tile)
            found.append(line(step, number, outcome))
    assert lines == found and next(scores, None) is None
    selected = {len(json.loads(each)["sel"]) for each in lines}
    assert F in selected and len(selected) > 2  # all of them, and fewer


def test_halves_are_counted_when_a_gather_is_done(flash: FlashToy, cache: Path) -> None:
    """Once, whatever the launches that it took."""
    for phase in flash.plan["phases"]:
        phase["scratch"][3]["dtype"] = "f16"  # of any bits
        for number in (4, 7):
            del phase["steps"][number]["unit"]  # its sums are f32
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


def test_pinned_records_come_a_read_at_a_time(
    flash: FlashToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all of them in memory, and then once more in their slots."""
    placed, place = list[int](), RecordReads.place

    def counted(self: RecordReads, memory: Any, table: int, content: list[Piece], *of: Any) -> None:
        placed.append(sum(len(piece.content) for piece in content))
        place(self, memory, table, content, *of)

    with monkeypatch.context() as patched:
        patched.setattr(RecordReads, "place", counted)
        executor = HostExecutor(flash.folder)
    assert len(placed) > 2 and max(placed) <= max(p["max_read"] for p in flash.plan["points"])
    is_right(executor, flash, 3)
    executor.close()


def test_dumps_show_what_a_gather_wrote(flash: FlashToy) -> None:
    seen = list[Dumped]()
    executor = HostExecutor(flash.folder, dump=("part",), sink=seen.append)
    executor.prefill(IDS[:3], 0)
    executor.close()
    assert [each.dispatch for each in seen] == ["layers.0.neurons", "layers.1.neurons"]
    assert seen[0].value.shape == (2, 3, 16) and np.abs(seen[0].value).max() > 0


def test_both_executors_keep_to_the_same_point(flash: FlashToy, cache: Path) -> None:
    """What they read at the start, and at each gather, is told by the same counts."""
    for memory in (97_531, 101_234, 250_000, "95%"):
        found = list[Counts]()
        for of in (HostExecutor, RunnerExecutor):
            executor: Any = of(flash.folder, memory=memory)
            list(executor.decode(executor.prefill(IDS, 0), len(IDS), 5, ()))
            found.append(replace(Counts.of(executor.stats()), waited_s=0.0, stalled_s=0.0))
            executor.close()
        assert found[0] == found[1] and found[0].reads + found[0].ahead_reads > 0


@pytest.mark.parametrize("engine", ["threads", "both"])
@pytest.mark.parametrize("memory", MEMORIES[1:])
def test_no_engine_changes_answers(
    flash: FlashToy, opened: Opened, engine: str, memory: int | None
) -> None:
    """Neither in rows of a prompt, nor where all lies in memory."""
    executor = opened(memory=memory, engine=engine)
    is_right(executor, flash, 4)
    done = executor.stats()["tables"]
    expected = {"threads": done["selected"], "both": done["selected"] - done["hits"]}[engine]
    assert done["engine"]["name"] == engine and done["engine"]["records"] == expected


def test_the_point_says_which_engine(flash: FlashToy, opened: Opened) -> None:
    flash.plan["points"][0]["engine"] = "both"
    flash.save_json()
    executor = opened(memory=100_000)
    is_right(executor, flash, 2)
    assert executor.stats()["tables"]["engine"]["records"]
    executor.budget(200_000)
    before = executor.stats()["tables"]["engine"]["records"]
    is_right(executor, flash, 2)
    assert executor.stats()["tables"]["engine"] == {
        **executor.stats()["tables"]["engine"],
        "name": "device",
        "records": before,
    }


def test_threads_need_a_unit(flash: FlashToy, opened: Opened) -> None:
    for phase in flash.plan["phases"]:
        for number in (4, 7):
            del phase["steps"][number]["unit"]
    flash.save_json()
    with pytest.raises(PocketError, match="threads compute nothing of this plan"):
        opened(memory=100_000, engine="both")
