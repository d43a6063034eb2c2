"""The figures of `bench`: what is counted from the plan, what from the clock."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolkit import bench
from toolkit.errors import PocketError
from toolkit.plan import Dispatch, HostStep, Phase, Plan, Variant

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


def test_reports_what_others_build_on(monkeypatch: pytest.MonkeyPatch, executor: Any) -> None:
    monkeypatch.setattr(bench, "open_executor", lambda path, on: executor)
    figures = bench.bench(Path("plan"), prompt_tokens=20, new_tokens=8, repeats=3)
    assert set(KEYS) <= set(figures)
    assert figures["dispatches_per_token"] == 2
    assert figures["kv_copy_bytes_per_token"] == 0
    assert executor.calls.count(("prefill", executor.calls[0][1], 0)) == 4  # a warm-up and 3
    assert executor.closed
    assert any("tokens/s" in line for line in bench.lines(figures))


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch, executor: Any) -> None:
    monkeypatch.setattr(bench, "open_executor", lambda path, on: executor)
    with pytest.raises(PocketError, match="don't fit"):
        bench.bench(Path("plan"), prompt_tokens=90, new_tokens=11)
    assert executor.closed


def test_a_kernel_that_copies_a_state_counts_with_all_its_bytes(plan: Plan) -> None:
    variants = (Variant(2, (1,), (1,)),)
    args = (("symbols",), ("buffer", 1), ("buffer", 2), ("buffer", 0))
    copy = Dispatch(0, "layers.0.copy", args, (2,), variants)
    assert bench.kv_copy_bytes(plan, with_steps(plan, *plan.phases[0].steps, copy)) == 12800


def test_fetching_a_state_counts(plan: Plan) -> None:
    assert bench.kv_copy_bytes(plan, with_steps(plan, HostStep("fetch", 2))) == 6400
