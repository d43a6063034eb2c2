"""What a run wrote down, replayed: the runner, its twin and the simulator agree entry for entry."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_toy import ORDER, SIZES, F, FlashToy
from replayed_runs import check, ran

from toolkit.errors import PocketError
from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.offload.prediction.token_time import Costs
from toolkit.plan.load import load_plan
from toolkit.plan.schema import POLICIES
from toolkit.simulation.known import Known
from toolkit.simulation.replay import Replayed, Sums, replay
from toolkit.simulation.rows import row
from toolkit.simulation.simulate import simulate
from toolkit.simulation.traced import Traced

V = {"from": ["scratch", 2], "gamma": 1.0}
SELECTS: dict[str, tuple[dict[str, Any], float]] = {  # and the point's number
    "above": ({"by": "above", "threshold": 0.0, **V}, 0.0),
    "magnitude": ({"by": "above", "threshold": 0.5, "magnitude": True, **V}, 0.5),
    "nonzero": ({"by": "nonzero", **V}, 0.0),
    "top": ({"by": "top", "k": 20, **V}, 20),
    "near": ({"by": "top", "k": 20, **V, "gamma": 0.3}, 20),
    "all": ({"by": "all", "gamma": 1.0}, 0.0),
}


def ready(toy: FlashToy, by: str, policy: str) -> None:
    """The toy whose first table is selected so in decoding, and kept so."""
    select, number = SELECTS[by]
    decode = [phase["name"] for phase in toy.plan["phases"]].index("decode")
    gathers = [s for s in toy.plan["phases"][decode]["steps"] if s["kind"] == "gather"]
    gathers[0]["select"] = select
    if select["by"] not in ("above", "nonzero"):
        gathers[0].pop("choose")  # the toy's kernel reads v: it chooses by no other rule
    before = sum(s["kind"] == "gather" for p in toy.plan["phases"][:decode] for s in p["steps"])
    toy.plan["tables"][0]["importance"] = toy.plan["tables"][1]["importance"] = SIZES
    for point in toy.plan["points"]:
        point["select"][before] = number
        point["policy"] = policy
        point["window"] = [3, 2]
    toy.save_json()


@pytest.mark.parametrize(
    "by, policy, of",
    [
        ("above", "window", RunnerExecutor),
        ("near", "importance", RunnerExecutor),
        ("nonzero", "importance", HostExecutor),
    ],
)
def test_a_replay_is_the_run(tmp_path: Path, by: str, policy: str, of: Any) -> None:
    toy = FlashToy(tmp_path / "toy")
    ready(toy, by, policy)
    counts = ran(of, toy, tmp_path / "trace", 120_000, 30)
    check(toy, tmp_path / "trace", 120_000, counts, policy)


@pytest.mark.parametrize(
    "by, policy, of",
    [("above", "window", RunnerExecutor), ("near", "importance", HostExecutor)],
)
def test_a_replay_begins_as_the_run_did(tmp_path: Path, by: str, policy: str, of: Any) -> None:
    """With what was in memory when the one before it ended."""
    toy, trace, warm = FlashToy(tmp_path / "toy"), tmp_path / "trace", tmp_path / "warm"
    ready(toy, by, policy)
    cold = ran(of, toy, trace, 120_000, 7, warm)
    check(toy, trace, 120_000, cold, policy)
    counts = ran(of, toy, trace, 120_000, 30, warm)
    assert trace.read_text().startswith('{"t":-1,') and counts.ahead_bytes > cold.ahead_bytes
    check(toy, trace, 120_000, counts, policy)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("by", SELECTS)
def test_a_thousand_tokens_are_the_run(tmp_path: Path, by: str, policy: str) -> None:
    """Every selector and policy: runner, twin and simulator."""
    toy = FlashToy(tmp_path / "toy")
    ready(toy, by, policy)
    counts = ran(RunnerExecutor, toy, tmp_path / "trace", 120_000, 1000)
    check(toy, tmp_path / "trace", 120_000, counts, policy)
    other = ran(HostExecutor, toy, tmp_path / "host", 120_000, 1000)
    assert (tmp_path / "host").read_text() == (tmp_path / "trace").read_text()
    assert (counts.selected, counts.hits) == (other.selected, other.hits)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan and a trace of it."""
    folder = tmp_path_factory.mktemp("traced")
    toy = FlashToy(folder / "toy")
    ran(HostExecutor, toy, folder / "trace", 120_000, 3)
    return folder


def damaged(folder: Path, into: Path, **change: Any) -> Path:
    """A copy of the trace, with other lines or scores."""
    lines = change.get("lines", (folder / "trace").read_text())
    scores = change.get("scores", (folder / "trace.scores").read_bytes())
    (into / "trace").write_text(lines)
    (into / "trace.scores").write_bytes(scores)
    return into / "trace"


def test_another_plans_trace_is_refused(traced: Path, tmp_path: Path) -> None:
    scores = np.fromfile(traced / "trace.scores", np.float32)
    lines = (traced / "trace").read_text().splitlines()
    first = json.loads(lines[0])
    cases: dict[str, dict[str, Any]] = {
        "selects other records": {"scores": (-scores).tobytes()},
        "fewer scores": {"scores": scores[:-F].tobytes()},
        "left over": {"scores": np.append(scores, scores[:3]).tobytes()},
        "selects other records ": {"lines": "\n".join([json.dumps(first | {"sel": [F]}), *lines])},
        "the plan has 6 gathers": {"lines": json.dumps(first | {"g": 6})},
        "the plan has 2 tables": {"lines": json.dumps(first | {"t": -1, "g": 2})},
        "has 65 records": {"lines": json.dumps(first | {"t": -1, "sel": [F]})},
        "has 65 records ": {"lines": json.dumps(first | {"t": -1, "sel": [2**65]})},
        "no line tells": {"lines": ""},
        "no line tells ": {"lines": json.dumps(first | {"t": -1})},
        "line 1 tells neither": {"lines": "[1, 2]\n"},
        "line 2 tells neither": {"lines": f"{lines[0]}\n{{\n"},
    }
    for says, change in cases.items():
        with pytest.raises(PocketError) as caught:
            simulate(traced / "toy", trace=damaged(traced, tmp_path, **change))
        assert says.strip() in caught.value.because, says
        assert "no trace" in caught.value.what and "--trace-access" in caught.value.hint


def test_what_makes_no_sense_is_refused(traced: Path, tmp_path: Path) -> None:
    trace, plan = traced / "trace", traced / "toy"
    lonely = tmp_path / "lonely"
    shutil.copy(trace, lonely)
    for options, says in (
        ({"trace": lonely}, "lonely.scores can't be read"),
        ({"trace": trace, "policy": ["hope"]}, "no policy is called hope"),
        ({"trace": trace, "selector": ["luck"]}, "no selector is called luck"),
        ({"trace": trace, "selector": ["oracle"]}, "the oracle needs a text"),
        ({"trace": trace, "selector": []}, "no selector is named"),
        ({"trace": trace, "tokens": 3}, "--tokens goes with --text"),
        ({"trace": trace, "model": plan}, "--model goes with --text"),
        ({"trace": trace, "policy": ["importance"]}, "no importance of its records"),
        ({"trace": trace, "flash": "floppy"}, "no flash is called floppy"),
        ({"trace": trace, "memory": ["1K"]}, "does not run in 1000 bytes"),
        ({"trace": trace, "text": trace}, "a text or a trace is replayed"),
        ({}, "a text or a trace is replayed"),
    ):
        with pytest.raises(PocketError, match=says):
            simulate(plan, **options)


def test_a_rate_is_predicted_where_the_device_is_known(traced: Path) -> None:
    """By the planner's time model: what is read, computed and waited for, and the rest."""
    plan = load_plan(traced / "toy")
    known = Known.of(traced / "toy", plan, "ufs21")
    known = replace(known, costs=Costs(rest=0.01, byte=1e-9, launch=5e-6, wait=35e-6), unknown=None)
    accesses = Traced(traced / "trace", plan, [held.order for held in known.tables])
    case, sums = known.case("120000", "lfu", "plan"), Replayed()
    for number, of_table in accesses.by_table():
        held = known.tables[number]
        sums += replay(held, of_table, case.point, "lfu", known.flash, known.costs)
    found = row(known, case, sums, accesses.tokens, None)
    assert found["misses_over_belady"] is None and sums.tokens.read_s > 0
    seconds = 1 / found["tokens_per_s"] - 0.01
    waits = 2 * 35e-6  # of two gathers
    assert sums.tokens.read_s / accesses.tokens + waits < seconds
    assert seconds < sums.tokens.read_s / accesses.tokens + waits + 2 * 20 * 5e-6 + 1e-3


def test_an_unknown_order_is_a_damaged_plan(tmp_path: Path) -> None:
    toy = FlashToy(tmp_path / "toy")
    toy.plan["weights"][SIZES]["offset"] = toy.plan["weights"][ORDER]["offset"]
    toy.plan["tables"][0]["importance"] = SIZES
    toy.save_json()  # the bits of whole numbers are floats near 0
    assert Known.of(toy.folder, load_plan(toy.folder), None).tables[0].importance is not None
    assert Sums() + Sums(hits=2) == Sums(hits=2)
