"""What is read ahead is replayed as a run reads it: line for line, and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ahead_toy import AheadToy
from flash_toy import SIZES
from replayed_runs import check, ran

from toolkit.errors import PocketError
from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.simulation.simulate import simulate


@pytest.mark.parametrize("of, policy", [(RunnerExecutor, "lfu"), (HostExecutor, "lru")])
def test_a_replay_reads_ahead_as_the_run_did(tmp_path: Path, of: Any, policy: str) -> None:
    toy, trace = AheadToy(tmp_path / "toy"), tmp_path / "trace"
    for point in toy.plan["points"]:
        point["policy"] = policy
    for table in toy.plan["tables"]:
        table["importance"] = SIZES
    toy.save_json()
    counts = ran(of, toy, trace, 100_000, 30)
    lines = [json.loads(each) for each in trace.read_text().splitlines()]
    wanted = sum(len(each["want"]) for each in lines if "p" in each)
    needed = sum(len(each.get("ahead", ())) for each in lines)
    assert 0 < needed < wanted
    check(toy, trace, 100_000, counts, policy)
    (row,) = simulate(toy.folder, trace=trace, memory=["100000"], policy=[policy])["rows"]
    assert (row["ahead_records"], row["ahead_needed"]) == (wanted, needed)
    assert row["ahead_wasted"] == wanted - needed and not row["ahead_left_out"]
    assert row["ahead_bytes"] == sum(each["read"] for each in lines if "p" in each)


def test_what_no_trace_tells_is_left_out(tmp_path: Path) -> None:
    """A run that reads nothing ahead tells nothing of it; one of before tells no scores."""
    toy, trace = AheadToy(tmp_path / "toy"), tmp_path / "trace"
    for overlap in ("off", "cluster"):
        executor = HostExecutor(toy.folder, memory=100_000, trace=trace, overlap=overlap)
        list(executor.decode(executor.prefill([3, 1, 4], 0), 3, 9, ()))
        executor.close()
        rows = simulate(toy.folder, trace=trace, memory=["100000", "300000"])["rows"]
        left = [each["ahead_left_out"] for each in rows if each["policy"] == "lfu"]
        assert left == [overlap == "off", False]  # with all in memory nothing is read ahead
        assert any(each["ahead_records"] for each in rows) == (overlap == "cluster")
    lines = trace.read_text().splitlines()
    early = next(json.loads(each) for each in lines if '"p"' in each)
    trace.write_text("\n".join([*lines, json.dumps(early | {"p": 2})]))
    with pytest.raises(PocketError, match="the plan has 2 tables"):
        simulate(toy.folder, trace=trace)
