"""The figures of `bench`: what is counted from the plan, what from the clock."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench import plan_bench as bench
from toolkit.bench import rivals as bench_rivals
from toolkit.bench.kv_copies import kv_copy_bytes
from toolkit.bench.report.text import lines
from toolkit.bench.trials import Trial, run_trials
from toolkit.errors import PocketError
from toolkit.plan.schema import Dispatch, HostStep, Phase, Plan, Variant

KEYS = [
    "device",
    "executor",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "first_token_s",
    "load_s",
    "dispatches_per_token",
    "kv_copy_bytes_per_token",
    "host_us_per_token",
    "peak_rss_bytes",
    "weight_bytes",
    "spread",
]


def with_steps(plan: Plan, *steps: Any) -> Phase:
    return replace(plan.phases[0], steps=steps)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, executor: Any) -> Any:
    """`bench` over the fake executor."""
    monkeypatch.setattr(bench, "open_executor", lambda path, on, **options: executor)
    monkeypatch.setattr(bench, "load_plan", lambda path, note: executor.plan)
    return lambda **options: bench.bench(Path("plan"), on="host", **options)


def test_reports_what_others_build_on(run: Any, executor: Any) -> None:
    figures = run(prompt_tokens=20, new_tokens=8, repeats=3)
    assert set(KEYS) <= set(figures)
    assert figures["dispatches_per_token"] == 2
    assert figures["kv_copy_bytes_per_token"] == 0
    assert executor.closed and figures["first_token"] is None  # it begins with nothing
    assert any("tokens/s" in line for line in lines(figures))
    json.dumps(figures)


def test_lengths_by_default_are_those_that_fit(run: Any) -> None:
    figures = run(new_tokens=8, repeats=2)
    assert [row["tokens"] for row in figures["prefill"]] == [1, 64]
    assert figures["decode"]["after"] == figures["prompt_tokens"] == 64
    assert figures["prefill_tokens_per_s"] == figures["prefill"][-1]["tokens_per_s"]


def test_host_overhead_is_the_time_between_two_steps_kernels(run: Any) -> None:
    figures = run(prompt_tokens=4, new_tokens=5, repeats=1)
    assert figures["host_overhead_us"] == pytest.approx(10)
    assert figures["kernel_span_us"] == {"prefill": pytest.approx(90), "decode": pytest.approx(90)}


def test_what_does_not_fit_is_refused_before_anything_is_loaded(run: Any, executor: Any) -> None:
    with pytest.raises(PocketError, match="don't fit"):
        run(prompt_tokens=90, new_tokens=11)
    assert not executor.closed  # it was not even opened
    with pytest.raises(PocketError, match="don't fit"):
        run(prompt_tokens=[101, 5], new_tokens=1)


def test_a_trace_is_refused_before_anything_runs(run: Any, executor: Any) -> None:
    with pytest.raises(PocketError, match="cannot be written"):
        run(trace=Path("/nowhere/trace.json"))
    assert executor.calls == []


def test_a_timeline_of_a_prefill_and_decode_steps(run: Any, tmp_path: Path) -> None:
    run(prompt_tokens=4, new_tokens=8, repeats=1, trace=tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    phases = [event["name"] for event in slices if event["tid"] == 1]
    assert phases == ["prefill", *["decode"] * bench.TRACED]
    kernels = [event for event in slices if event["tid"] == 2]
    assert len(kernels) == 2 * (1 + bench.TRACED)
    assert kernels[1]["args"]["gap_before_us"] == pytest.approx(1)
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in slices)
    for track in (1, 2, 3, 4):  # a viewer drops slices that overlap halfway
        on_track = sorted((e["ts"], e["ts"] + e["dur"]) for e in slices if e["tid"] == track)
        assert all(before[1] <= after[0] + 1e-6 for before, after in pairwise(on_track))


class Player:
    """A contestant that writes down when it was asked."""

    version, threads = "1", 2

    def __init__(self, name: str, log: list[Any]) -> None:
        self.name, self.log = name, log

    def logits_rows(self, prompt: Any) -> int:
        return len(prompt)

    def start(self, prompt: Any) -> int:
        self.log.append((self.name, len(prompt)))
        return 7

    def decode(self, token: int, count: int) -> Any:
        self.log.append((self.name, "decode", count))
        return iter([token] * count)


def test_trials_alternate_between_rivals_at_every_length() -> None:
    log: list[Any] = []
    players = [Player("a", log), Player("b", log)]
    trials = run_trials(players, [[1], [1, 2]], 3, 2, lambda *_: None)
    once = [("a", 1), ("b", 1)]
    once += [entry for name in "ab" for entry in ((name, 2), (name, "decode", 3))]
    assert log[-12:] == once * 2
    assert [[len(each) for each in trials[name]] for name in "ab"] == [[2, 2], [2, 2]]


def test_a_ratio_comes_from_pairs_and_says_whose_work_it_was() -> None:
    ours = [[Trial(1.0, 0.5, (7,)), Trial(2.0, 0.25, (7,)), Trial(1.0, 0.5, (7,))]]
    theirs = [[Trial(2.0, 0.5, (7,)), Trial(2.0, 0.25, (7,)), Trial(4.0, 1.0, (7,))]]
    rival: Any = Player("b", [])
    found = bench_rivals.comparison(rival, ours, theirs, [[1, 2, 3]])
    assert found["prefill"][0]["ratios"] == [2.0, 1.0, 4.0]
    assert found["prefill"][0]["ratio"] == 2.0
    assert found["decode"]["ratio_range"] == [1.0, 2.0]
    assert found["logits_rows"] == {"ours": 1, "rival": 3} and not found["equal_work"]
    assert found["same_ids"]
    assert "logits of 3 rows" in "\n".join(bench_rivals.comparison_lines(found))


def test_a_rival_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    monkeypatch.setattr(bench_rivals.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PocketError, match="not installed") as raised:
        bench_rivals.open_rivals(["onnxruntime-genai"], plan, 2)
    assert raised.value.hint == "pip install onnxruntime-genai"


def test_a_kernel_that_copies_a_state_counts_with_all_its_bytes(plan: Plan) -> None:
    variants = (Variant(2, (1,), (1,)),)
    args = (("symbols",), ("buffer", 1), ("buffer", 2), ("buffer", 0))
    copy = Dispatch(0, "layers.0.copy", args, (2,), variants)
    assert kv_copy_bytes(plan, with_steps(plan, *plan.phases[0].steps, copy)) == 12800


def test_fetching_a_state_counts(plan: Plan) -> None:
    assert kv_copy_bytes(plan, with_steps(plan, HostStep("fetch", (("buffer", 2),)))) == 6400
