"""Look-ahead: what is read early changes no answer, and both executors read the same."""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from ahead_toy import PREFETCH, SCORES, AheadToy
from flash_executors import IDS, Opened, is_right
from flash_toy import F
from toy import Toy

from toolkit.errors import PocketError
from toolkit.executors.host import HostExecutor
from toolkit.executors.opencl.gather.flash_files import FlashFiles, Piece, records_in
from toolkit.executors.opencl.gather.gatherer import Gatherer
from toolkit.executors.runner import RunnerExecutor
from toolkit.offload.counts import Counts
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine
from toolkit.plan.schema import Point, Select, Table

COUNT = 20


@pytest.fixture
def flash(tmp_path: Path) -> AheadToy:
    return AheadToy(tmp_path / "ahead toy")


@pytest.mark.parametrize("memory", [100_000, 200_000, 300_000])
def test_answers_are_those_of_all_weights(flash: AheadToy, opened: Opened, memory: int) -> None:
    is_right(opened(memory=memory), flash)


def run(of: Any, toy: AheadToy, trace: Path, **options: Any) -> tuple[list[int], list[str], Counts]:
    executor = of(toy.folder, memory=100_000, trace=trace, **options)
    first = executor.prefill(IDS, 0)
    ids = [first, *executor.decode(first, len(IDS), COUNT, ())]
    counts = Counts.of(executor.stats())
    executor.close()
    return ids, trace.read_text().splitlines(), counts


def test_both_executors_read_the_same(flash: AheadToy, tmp_path: Path, cache: Path) -> None:
    """Line for line; the records that were read ahead are those that the gather needs no more."""
    ids, lines, counts = run(HostExecutor, flash, tmp_path / "host")
    own_ids, own, own_counts = run(RunnerExecutor, flash, tmp_path / "runner", cache=cache)
    assert (own_ids, own) == (ids, lines)
    assert own_counts.used_bytes == counts.used_bytes
    told = [json.loads(each) for each in lines]
    wanted = [each["want"] for each in told if "p" in each]
    found = [each.get("ahead", []) for each in told if each.get("g") == 3]
    assert len(wanted) == len(found) == COUNT and sum(map(len, found)) > COUNT
    assert all(set(few) <= set(more) for few, more in zip(found, wanted, strict=True))


@pytest.mark.parametrize("overlap", ["cluster", "matrix", "off"])
def test_whatever_waits_for_what(
    flash: AheadToy, tmp_path: Path, cache: Path, overlap: str
) -> None:
    """Ids are the same; what begins no read early has no line of it."""
    ids, lines, _ = run(RunnerExecutor, flash, tmp_path / "t", cache=cache, overlap=overlap)
    first = ids[0]
    assert ids[1:] == flash.continued([*IDS, first], COUNT)
    assert any('"p"' in each for each in lines) == (overlap != "off")


@pytest.mark.parametrize("overlap", ["cluster", "off"])
def test_both_executors_tell_what_waits_for_what(
    flash: AheadToy, tmp_path: Path, cache: Path, overlap: str
) -> None:
    """And where nothing is read early, both have the lines of a plan that never does."""
    found = []
    for of, more in ((HostExecutor, {}), (RunnerExecutor, {"cache": cache})):
        executor = of(flash.folder, memory=100_000, trace=tmp_path / "t", overlap=overlap, **more)
        executor.prefill(IDS, 0)
        assert executor.step(1, len(IDS)) is not None
        assert executor.stats()["tables"]["overlap"] == overlap
        executor.close()
        found.append((tmp_path / "t").read_text())
    assert found[0] == found[1] and ('"p"' in found[0]) == (overlap == "cluster")


def test_the_host_has_no_room_for_all_reads_of_a_network(flash: AheadToy) -> None:
    with pytest.raises(PocketError, match="--overlap matrix can't be had here"):
        HostExecutor(flash.folder, overlap="matrix")
    executor = HostExecutor(flash.folder)
    assert executor.stats()["tables"]["overlap"] == "cluster"
    executor.close()


@pytest.mark.parametrize("toy", [AheadToy, Toy])
def test_the_environment_says_it_where_it_means_something(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, toy: Any
) -> None:
    """A plan without tables refuses the option, and goes without the environment's."""
    folder = tmp_path / "plan"
    has_tables = isinstance(toy(folder), AheadToy)
    monkeypatch.setenv("POCKETCL_OVERLAP", "sideways")
    if has_tables:
        with pytest.raises(PocketError, match="POCKETCL_OVERLAP is 'sideways'"):
            RunnerExecutor(folder, cache=cache)
        monkeypatch.setenv("POCKETCL_OVERLAP", "matrix")
    executor = RunnerExecutor(folder, cache=cache)
    told = executor.stats().get("tables")
    executor.close()
    assert (told["overlap"] if told else None) == ("matrix" if has_tables else None)


def test_what_is_read_ahead_by_is_not_dumped(flash: AheadToy) -> None:
    with pytest.raises(PocketError, match=r"'v\.ahead' is not dumped: it is a guess"):
        HostExecutor(flash.folder, dump=["x", "v.ahead"])


@pytest.mark.parametrize("of", [HostExecutor, RunnerExecutor])
def test_a_point_that_reads_nothing_ahead(flash: AheadToy, tmp_path: Path, of: Any) -> None:
    """Is as a plan without the step: what would compute its numbers is left out."""
    for point in flash.plan["points"]:
        point["ahead"] = []
    flash.plan["phases"][1]["steps"][PREFETCH]["dispatches"][0]["args"][2] = ["weight", 2]
    flash.save_json()
    ids, lines, _ = run(of, flash, tmp_path / "t")
    assert ids[1:] == flash.continued([*IDS, ids[0]], COUNT)
    assert not any('"p"' in each or '"ahead"' in each for each in lines)


@pytest.mark.parametrize("of", [HostExecutor, RunnerExecutor])
def test_a_gather_in_front_whose_table_is_in_memory(
    flash: AheadToy, tmp_path: Path, cache: Path, of: Any
) -> None:
    """It is ordinary dispatches: what would run within it must not run within a later one."""
    point = {**flash.plan["points"][0], "slots": [F, 9], "pinned": [F, 0]}
    flash.plan["points"] = [point]
    lay_over_what_it_writes(flash)
    flash.save_json()
    executor = of(flash.folder, **({"cache": cache} if of is RunnerExecutor else {}))
    is_right(executor, flash, COUNT)
    executor.close()
    _, lines, _ = run(of, flash, tmp_path / "t")
    assert not any('"p"' in each for each in lines)  # with a trace, too


def lay_over_what_it_writes(flash: AheadToy) -> None:
    """What the second layer is chosen by lies where the prefetch, by other gates, writes."""
    decode = flash.plan["phases"][1]
    decode["scratch"].append({**decode["scratch"][SCORES], "name": "v1"})
    own, steps = ["scratch", SCORES + 1], decode["steps"]
    steps[PREFETCH]["dispatches"][0]["args"][2] = ["weight", 2]
    gates, gather = steps[PREFETCH + 3 : PREFETCH + 5]
    gather["select"]["from"] = own
    for each in (gates, *gather["dispatches"]):
        each["args"] = [own if arg == ["scratch", 2] else arg for arg in each["args"]]


@pytest.mark.parametrize("nth", range(5))
def test_a_read_that_fails_on_the_host(
    flash: AheadToy, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """One of a prefetch fails nobody. What comes after is right. tests/runner/test_read_ahead.py"""
    executor = HostExecutor(flash.folder, memory=100_000)
    first = executor.prefill(IDS, 0)
    read, calls = FlashFiles.read, itertools.count()

    def faulty(files: FlashFiles, *where: int) -> Any:
        if next(calls) == nth:
            raise PocketError("cut")
        return read(files, *where)

    with monkeypatch.context() as patched, contextlib.suppress(PocketError):
        patched.setattr(FlashFiles, "read", faulty)
        assert executor.step(first, len(IDS)) == flash.next([*IDS, first])
    assert next(calls) > nth
    is_right(executor, flash)
    executor.close()


def test_a_prefetch_that_cannot_read_fails_nobody(
    flash: AheadToy, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = HostExecutor(flash.folder, memory=100_000)
    first = executor.prefill(IDS, 0)
    whole, failed = Gatherer._read_ahead, Mock(side_effect=PocketError("cut"))

    def faulty(gatherer: Gatherer) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(FlashFiles, "read", failed)
            whole(gatherer)

    monkeypatch.setattr(Gatherer, "_read_ahead", faulty)
    ids = list(executor.decode(first, len(IDS), COUNT, ()))
    assert failed.called and ids == flash.continued([*IDS, first], COUNT)
    monkeypatch.undo()
    is_right(executor, flash)
    executor.close()


def machine(count: int = 64) -> Machine:
    table = Table("t", "neuron", count, 64, 4096, 0, 0, ())
    point = Point(0, (4,), (4,), (0,), "static", (), 0, 65536, 1, 8)
    return Machine([table], point, Flash("free"))


def test_the_greatest_that_are_away_are_wanted() -> None:
    scores = np.arange(64, dtype=np.float32) % 32
    scores[40] = np.nan
    above = Select("above", ("scratch", 0), 20.0)
    ahead = machine().prefetch(0, above, scores, 0, 5)
    assert ahead.records.tolist() == [30, 31, 62, 63, 29]  # four of the surest; ties to the lower
    assert ahead.bytes_read == 5 * 4096


def test_what_is_rarely_needed_is_rarely_read() -> None:
    """Then in one step of sixteen."""
    found, above = machine(), Select("above", ("scratch", 0), 0.5)
    guess, truth = np.zeros(64, np.float32), np.zeros(64, np.float32)
    guess[10:20], truth[30:40] = 1, 1
    wanted = []
    for step in range(64):
        wanted.append(len(found.prefetch(0, above, guess, step, 32).records))
        found.gather(0, above, truth, step)
    assert wanted[:5] == [10, 10, 10, 10, 0] and wanted.count(10) == 7
    guess = truth
    for step in range(64, 300):
        wanted.append(len(found.prefetch(0, above, guess, step, 32).records))
        found.gather(0, above, truth, step)
    assert wanted[-10:] == [10] * 10


def test_of_less_sure_records_fewer_are_read_where_few_are_needed() -> None:
    """The surest ones still are."""
    found, above = machine(), Select("above", ("scratch", 0), 0.5)
    guess, truth = np.zeros(64, np.float32), np.zeros(64, np.float32)
    guess[10:22] = np.arange(12, 0, -1)
    truth[10:15] = 1
    wanted = []
    for step in range(32):
        wanted.append(len(found.prefetch(0, above, guess, step, 32).records))
        found.gather(0, above, truth, step)
    assert wanted[:4] == [12] * 4 and wanted[4:16] == [4] * 12  # the second four had one of them
    assert wanted[16] == 12


def test_a_read_that_lies_within_another() -> None:
    """As of two groups: each record is taken from a read that has all of it."""
    table = Table("t", "neuron", 8, 96, 96, 0, 0, ())
    content = np.arange(8 * 96, dtype=np.int64).astype(np.uint8)
    pieces = [Piece(0, content), Piece(150, content[150:250])]
    found = records_in(pieces, table, np.array([1, 2, 5]))
    assert (found == content.reshape(8, 96)[[1, 2, 5]]).all()
