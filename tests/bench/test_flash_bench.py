"""Figures of plans with weights in flash, by the toy with two tables on both executors."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from flash_toy import RECORD, F, FlashToy

from toolkit.bench import plan_bench
from toolkit.bench.flash.changes import SETTLE
from toolkit.bench.flash.changes import lines as changed_lines
from toolkit.bench.flash.curve import lines
from toolkit.bench.flash.first_token import NO_FIGURES, first_token_figures, first_token_lines
from toolkit.bench.flash.page import write_curve
from toolkit.bench.flash.reads import KEYS, flash_figures
from toolkit.bench.report.text import lines as bench_lines
from toolkit.bench.trials import Ours, run_trials
from toolkit.errors import PocketError
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.offload.counts import Counts, too_late
from toolkit.plan.load import load_plan

PROMPT, NEW, REPEATS = [3, 1, 4, 1, 5], 6, 2
ALL = 100_000 + (2 * F - 20) * RECORD.nbytes


@pytest.fixture
def flash(tmp_path: Path) -> FlashToy:
    toy = FlashToy(tmp_path / "flash toy")
    toy.plan["points"] = toy.plan["points"][:1]  # as compile writes them
    toy.save_json()
    return toy


@pytest.mark.parametrize("on", ["host", "runner"])
def test_figures_are_those_of_the_trace(flash: FlashToy, tmp_path: Path, on: str) -> None:
    trace = tmp_path / "trace"
    executor = open_executor(flash.folder, on, memory=99_000, trace=trace)
    ours = Ours(executor)
    trials = run_trials([ours], [PROMPT], NEW, REPEATS, lambda *_: None)[ours.name][-1]
    figures = flash_figures(ours, trials, None)
    executor.close()

    steps: dict[int, list[Any]] = {}
    for line in map(json.loads, trace.read_text().splitlines()):
        steps.setdefault(line["t"], []).append(line)
    runs = list(steps.values())
    trial = len(runs) // (REPEATS + 1)  # the first one warms up
    decoding = [g for n in range(1, REPEATS + 1) for run in runs[trial * n :][1:trial] for g in run]
    assert trial == 1 + NEW and len(decoding) == 2 * NEW * REPEATS

    prefills = [g for n in range(1, REPEATS + 1) for g in runs[trial * n]]
    assert figures["flash_prefill"]["bytes"] == sum(g["read"] for g in prefills) / REPEATS
    assert figures["flash_prefill"]["reads"] == sum(len(g["runs"]) for g in prefills) / REPEATS
    assert figures["flash_prefill"]["imitated_s"] is figures["flash_prefill"]["hidden"] is None
    tokens = NEW * REPEATS
    assert figures["flash_bytes_per_token"] == sum(g["read"] for g in decoding) / tokens
    assert figures["flash_used_bytes_per_token"] == sum(g["used"] for g in decoding) / tokens
    assert figures["reads_per_token"] == sum(len(g["runs"]) for g in decoding) / tokens
    sizes = [str(nbytes) for g in decoding for _, nbytes in g["runs"]]
    assert figures["read_sizes"] == {size: sizes.count(size) for size in sizes}
    selected = sum(len(g["sel"]) for g in decoding)
    assert figures["hit_rate"] == sum(g["hit"] for g in decoding) / selected
    assert 0 < figures["io_share"] < 1 and figures["flash"]["memory"] <= 99_000
    assert figures["flash"]["imitated"] is False and figures["flash"]["late_share"] is None


def test_a_bench_says_that_it_imitates(flash: FlashToy, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the imitation is where tests run: that is another test's."""
    monkeypatch.setattr("toolkit.offload.counts.MOST_LATE", 1e9)
    options: dict[str, Any] = {"prompt_tokens": 5, "new_tokens": NEW, "repeats": 1}
    figures = plan_bench.bench(flash.folder, memory="90%", flash="ufs21", **options)
    assert figures["flash"]["profile"] == "ufs21" and figures["flash"]["imitated"] is True
    assert figures["flash"]["direct"] is False and figures["flash"]["late_share"] >= 0
    assert set(KEYS) <= set(figures) and figures["flash_bytes_per_token"] > 0
    prompt = figures["flash_prefill"]
    assert 0 <= prompt["stalled_s"] <= prompt["waited_s"] and prompt["imitated_s"] > 0
    assert prompt["hidden"] == pytest.approx(1 - prompt["stalled_s"] / prompt["imitated_s"])
    text = "\n".join(bench_lines(figures))
    assert "imitated: ufs21" in text and "found in memory" in text
    json.dumps(figures)


def test_a_curve_over_memory(flash: FlashToy, tmp_path: Path) -> None:
    """The same ids everywhere, nothing read where all records fit; too little is a row's error."""
    memories = ["1000", "97000", "99000", "100%"]
    figures = plan_bench.bench(
        flash.folder, 5, NEW, REPEATS, memory=memories, on="host", platform=None
    )
    few, *rows = figures["rows"]
    assert "1000 bytes" in few["error"]["what"] and few["asked"] == "1000"
    assert figures["ids_equal"] is True and len({tuple(row["ids"]) for row in rows}) == 1
    read = [row["flash_bytes_per_token"] for row in rows]
    assert read[0] > read[1] > read[2] == 0 and rows[2]["flash"]["memory"] == ALL
    text = list(lines(figures))
    assert len(text) == 2 + len(rows) + 3 and "the same ids" in text[-1]
    json.dumps(figures)
    write_curve(tmp_path / "curve.html", figures)
    page = (tmp_path / "curve.html").read_text()
    assert page.count("<circle") == 2 * len(rows) and "1000 bytes" in page
    with pytest.raises(PocketError, match="nothing to show"):
        write_curve(tmp_path / "curve.html", figures | {"rows": [few]})


def test_figures_of_a_late_imitation_are_withheld() -> None:
    counts = Counts(imitated_s=1.0, late_s=0.09)
    late = too_late("m1max", counts)
    assert isinstance(late, PocketError) and "m1max was late by 9 % of the time" in late.what
    assert "--flash ufs40" in late.hint
    assert too_late("m1max", replace(counts, late_s=0.05)) is None
    assert too_late(None, counts) is None


def test_counts_are_sums() -> None:
    one = Counts.of({"tables": {"reads": 3, "read_bytes": 9, "read_sizes": {"4096": 2, "8192": 1}}})
    assert (one + one) - one == one and (one + one).read_sizes == {4096: 4, 8192: 2}
    assert Counts.of({}) == Counts() and asdict(Counts())["reads"] == 0


def test_rounding_leaves_a_part_within_its_whole() -> None:
    """Both are differences of sums, which lost bits of their own: it failed so once."""
    waited = stalled = 1e-6
    before = Counts(waited_s=0.3, stalled_s=0.1)
    late = Counts(waited_s=0.3 + waited, stalled_s=0.1 + stalled)
    assert late.waited_s - before.waited_s < late.stalled_s - before.stalled_s
    rest = late - before
    assert rest.stalled_s == rest.waited_s == pytest.approx(waited)


def test_a_host_imitates_nothing(flash: FlashToy) -> None:
    with pytest.raises(PocketError, match="--flash ufs40 can't be imitated here"):
        open_executor(flash.folder, "host", flash="ufs40")


def test_no_runner_outlives_a_failed_first_token(flash: FlashToy, tmp_path: Path) -> None:
    """Here a text that is longer than the plan's context."""
    opened: list[Executor] = []

    def opener(*args: Any, **options: Any) -> Executor:
        opened.append(open_executor(*args, **options))
        return opened[-1]

    text = [1] * (int(load_plan(flash.folder).model["max_context"]) + 1)
    with pytest.raises(PocketError):
        first_token_figures(flash.folder, "runner", tmp_path, text, NEW, 2, {}, opener)
    [first] = opened
    with pytest.raises(PocketError, match="the runner is closed"):
        first.prefill([1], 0)


@pytest.mark.parametrize("memory", ["100000", "100%"])
def test_the_first_token_of_a_start(flash: FlashToy, tmp_path: Path, memory: str) -> None:
    """Cold and warm give the same id; what is always in memory is never warm.

    With less memory all of the second table's slots are pinned, and the first one's records that
    are kept lie in the page that is read for those that are pinned.
    """
    options = (tmp_path / "warm", [3, 1, 4, 1, 5, 9, 2, 6, 5, 3], NEW, 2, {"memory": memory})
    figures = first_token_figures(flash.folder, "runner", *options)
    if memory == "100%":
        assert figures == NO_FIGURES and list(first_token_lines(figures)) == []
        return
    restarts = figures["first_token"]
    assert {each["id"] for found in restarts.values() for each in found} == {
        restarts["cold"][0]["id"]
    }
    assert [each["warm_records"] for each in restarts["cold"]] == [0, 0]
    assert [each["ahead_bytes"] for each in restarts["warm"]] == [figures["warm_bytes"]] * 2
    assert restarts["warm"][0]["ahead_bytes"] > restarts["cold"][0]["ahead_bytes"]
    seconds = [each["prompt_s"] for each in restarts["warm"]]
    assert min(seconds) <= figures["first_token_warm_s"] <= max(seconds)
    [told] = first_token_lines(figures)
    assert "ms cold" in told and "read ahead" in told


@pytest.mark.parametrize("on, flash_named", [("runner", "ufs40"), ("host", None)])
def test_a_run_goes_on_as_another_begins(
    flash: FlashToy, monkeypatch: pytest.MonkeyPatch, on: str, flash_named: str | None
) -> None:
    """With as much read a token, too: there, where all lies in memory, nothing."""
    monkeypatch.setattr("toolkit.offload.counts.MOST_LATE", 1e9)
    options: dict[str, Any] = {"flash": flash_named} if flash_named else {"platform": None}
    asked = ["100%", "97000", "100", "98000@ufs31" if flash_named else "98000", "100%"]
    figures = plan_bench.bench(flash.folder, 5, NEW, 1, on, budgets=asked, **options)
    assert [row["asked"] for row in figures["rows"]] == asked and figures["ids_equal"]
    first, few, none, slower, last = figures["rows"]
    assert "100 bytes" in none["error"]["what"] and set(none) == {"asked", "error"}
    assert first["memory"] == last["memory"] == ALL and few["memory"] <= 97_000
    for row in (first, few, slower, last):
        assert row["decode_tokens_per_s"] > 0 and row["fresh_tokens_per_s"] > 0
        read = row["flash_bytes_per_token"], row["fresh_bytes_per_token"]
        assert (read == (0, 0)) == (row["memory"] == ALL)
        assert 0 <= row["tokens_to_point"] <= SETTLE and row["share_of_fresh"] > 0
    assert slower["profile"] == ("ufs31" if flash_named else None)
    assert len(list(changed_lines(figures))) == 2 + len(asked) + 2
    json.dumps(figures)


def test_a_flash_changes_where_one_is_imitated(flash: FlashToy) -> None:
    with pytest.raises(PocketError, match="imitates no flash"):
        plan_bench.bench(flash.folder, 5, NEW, 1, budgets=["100%", "98000@ufs31"])


def test_a_context_that_no_change_settles_in(flash: FlashToy) -> None:
    """Is told before anything is loaded."""
    flash.plan["model"]["max_context"] = SETTLE
    flash.save_json()
    with pytest.raises(PocketError, match="compiled for 32 positions, a change settles in 32"):
        plan_bench.bench(flash.folder, 5, NEW, 1, budgets=["100%"])
