"""The rungs of LLM in a flash, by the toy with two tables: bytes and seconds by arithmetic."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flash_toy import RECORD, STRIDES, F, FlashToy
from toy import Toy

from toolkit.bench.flash.ladder_lines import lines
from toolkit.bench.flash.misses import traced
from toolkit.bench.flash.pi2_lines import lines as pi2_lines
from toolkit.bench.flash.rungs import Replays, coalescing, summed
from toolkit.bench.flash.what_if import Gathered, replay, steps_of
from toolkit.bench.plan_bench import bench
from toolkit.bench.trials import percentile
from toolkit.cli.commands import cli
from toolkit.errors import PocketError
from toolkit.executors.open import open_executor
from toolkit.offload.flash_model import Flash, flash
from toolkit.offload.points import choose_point
from toolkit.plan.figures import weight_bytes
from toolkit.plan.load import load_plan
from toolkit.plan.schema import PAGE, Gather, Phase, Plan, Point, Select

PROMPT, NEW, BUDGET = [3, 1, 4, 1, 5], 6, 99_000
ALPHA, BETA = 1e-3, 1e6
MODEL = Flash("one", ALPHA, BETA)
PART, RECORDS = RECORD.part_bytes, 2 * F * RECORD.nbytes


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> FlashToy:
    toy = FlashToy(tmp_path_factory.mktemp("ladder") / "flash toy")
    toy.plan["points"] = toy.plan["points"][:1]  # as compile writes them
    toy.plan["points"][0] |= {"policy": "static", "slots": [11, 9], "pinned": [11, 9]}
    toy.save_json()
    return toy


@pytest.fixture
def plan(toy: FlashToy) -> Plan:
    return load_plan(toy.folder)


@pytest.fixture
def point(plan: Plan) -> Point:
    return replace(choose_point(plan, BUDGET), gap=0)


def steps(*tokens: tuple[list[int], list[int]]) -> list[list[Gathered]]:
    """A prefill, and tokens: what each gather selects, by its number in the toy's plan."""
    every = np.arange(F)
    return [
        [(0, every), (1, every)],
        *([(2, one), (3, other)] for one, other in map(arrays, tokens)),
    ]


def arrays(pair: tuple[list[int], list[int]]) -> list[np.ndarray]:
    return [np.array(each, np.int64) for each in pair]


TWO = steps(([2, 30, 31], [0]), ([60], []))


def test_each_rung_reads_what_arithmetic_says(plan: Plan, point: Point) -> None:
    """Of the tokens records 2 and 0 are pinned; parts of 30 and 31 begin and end in some pages."""
    plan = selecting(plan, Select("above", ("scratch", 2)))
    point = replace(point, slots=(11, 9), pinned=(11, 9))
    replays = Replays(plan, point, MODEL, TWO, 2)
    rows = summed(replays, 1_000_000, [0.5, 0.75, 1.0], [0.25])
    naive, hybrid, predictor, cache = rows
    assert [row["rung"] for row in rows] == ["naive", "hybrid", "predictor", "cache"]
    assert naive["flash_bytes_per_token"] == 1_000_000 and naive["memory"] == 0
    assert naive["io_s"] == ALPHA + 1_000_000 / BETA and naive["compute_s"] == 0.75
    assert naive["seconds"] == naive["io_s"] + 0.75 and naive["spread"] == 0.5 / naive["seconds"]
    rest = RECORDS - 20 * RECORD.nbytes
    assert hybrid["flash_bytes_per_token"] == rest and hybrid["memory"] == point.memory
    assert predictor["memory"] == point.memory - 20 * RECORD.nbytes

    def pages(size: int, *records: int) -> list[int]:
        """Bytes of a read of each; neighbours share theirs, as their pages are side by side."""
        runs: list[list[int]] = []
        for each in records:
            begin, end = each * size // PAGE, -(-(each + 1) * size // PAGE)
            if runs and begin <= runs[-1][1]:
                runs[-1][1] = end
            else:
                runs.append([begin, end])
        return [PAGE * (end - begin) for begin, end in runs]

    parts = pages(PART, 2, 30, 31) + pages(PART, 60)  # of the first table; of the second one: 0
    check(predictor, 2 * (parts + pages(PART, 0)))
    check(cache, 2 * (pages(PART, 30, 31) + pages(PART, 60)))
    bundle = replays.reads(kept=True).per_token()
    check(bundle, pages(STRIDES[0], 30, 31) + pages(STRIDES[0], 60))
    assert cache["compute_s"] == 0.25 and cache["io"] == "profile"


def selecting(plan: Plan, rule: Select, table: int = 1) -> Plan:
    """The plan whose tokens select records of a table by this rule."""

    def changed(phase: Phase) -> Phase:
        if phase.name != "decode":
            return phase
        by_table = {table: {"select": rule}}
        steps = (
            replace(step, **by_table.get(step.table, {})) if isinstance(step, Gather) else step
            for step in phase.steps
        )
        return replace(phase, steps=tuple(steps))

    return replace(plan, phases=tuple(map(changed, plan.phases)))


def test_of_rows_by_ids_a_token_reads_as_many(plan: Plan, point: Point) -> None:
    """Whoever keeps what fits doesn't read all others; a budget without slots reads each id."""
    replays = Replays(selecting(plan, Select("ids", ("scratch", 2), k=2)), point, MODEL, TWO, 2)
    _, hybrid, predictor, *_ = summed(replays, 1_000_000, [1.0], [1.0])
    rest = (F - point.slots[0] + 2) * RECORD.nbytes
    assert hybrid["flash_bytes_per_token"] == rest
    assert predictor["reads_per_token"] > 0


def check(row: dict[str, Any], reads: list[int]) -> None:
    """Of two tokens."""
    assert row["reads_per_token"] == len(reads) / 2
    assert row["flash_bytes_per_token"] == sum(reads) / 2
    assert row["read_sizes"] == {str(size): reads.count(size) for size in sorted(set(reads))}
    assert row["io_s"] == pytest.approx((ALPHA * len(reads) + sum(reads) / BETA) / 2)


def test_joined_reads_are_fewer_and_larger(plan: Plan, point: Point) -> None:
    point = replace(point, gap=2 * PAGE, max_read=8 * PAGE)
    few = steps(([2, 60], [1, 3, 40]))
    plan = selecting(plan, Select("above", ("scratch", 2)))
    rows = coalescing(Replays(plan, point, MODEL, few, 1))
    assert [(row["kept"], row["gap"]) for row in rows] == [
        (kept, gap) for kept in (False, True) for gap in (0, 2 * PAGE)
    ]
    apart, joined = rows[:2]
    assert joined["reads_per_token"] < apart["reads_per_token"]
    assert joined["flash_bytes_per_token"] > apart["flash_bytes_per_token"]


@pytest.mark.parametrize("policy", ["static", "lfu", "window", "importance"])
def test_a_replay_reads_what_the_runner_read(
    toy: FlashToy, plan: Plan, tmp_path: Path, policy: str
) -> None:
    """Every read of every token, whatever the policy; the host's trace is the runner's."""
    first = plan.points[0]
    pinned = first.slots if policy == "static" else (3, 9)
    changed = replace(plan, points=(replace(first, policy=policy, pinned=pinned),))
    toy_plan = json.loads((toy.folder / "plan.json").read_text())
    toy_plan["points"][0] |= {"policy": policy, "pinned": [*pinned]}
    folder = tmp_path / "plan"
    folder.symlink_to(toy.folder) if policy == "static" else _copy(toy, folder, toy_plan)
    executor = open_executor(folder, "host", memory=BUDGET, trace=tmp_path / "trace")
    token = executor.prefill(PROMPT, 0)
    assert len(list(executor.decode(token, len(PROMPT), NEW, ()))) == NEW
    executor.close()
    traced = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    decoding = [line for line in traced if line["t"] >= traced[-1]["t"] - NEW + 1]
    found = steps_of(tmp_path / "trace")
    reads = replay(changed, choose_point(changed, BUDGET), flash("ufs31"), found, NEW)
    assert reads.bytes == sum(line["read"] for line in decoding) > 0
    assert reads.count == sum(len(line["runs"]) for line in decoding)
    assert sum(size * n for size, n in reads.sizes.items()) == reads.bytes


def _copy(toy: FlashToy, folder: Path, plan: dict[str, Any]) -> None:
    folder.mkdir()
    for each in toy.folder.iterdir():
        if each.name != "plan.json":
            (folder / each.name).symlink_to(each)
    (folder / "plan.json").write_text(json.dumps(plan))


def test_a_ladder(toy: FlashToy, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rungs; the last two are runs that read the same. However late the imitation is."""
    monkeypatch.setattr("toolkit.offload.counts.MOST_LATE", 1e9)
    monkeypatch.setenv("POCKETCL_OVERLAP", "nothing")  # it has its own
    figures = bench(
        toy.folder, len(PROMPT), NEW, 2, memory=str(BUDGET), ladder="lif", flash="ufs21"
    )
    rows = {row["rung"]: row for row in figures["ladder"]}
    assert [*rows] == ["naive", "hybrid", "predictor", "cache", "bundle", "overlap"]
    assert figures["ids_equal"] is True and figures["memory"] <= BUDGET
    assert rows["naive"]["flash_bytes_per_token"] == weight_bytes(load_plan(toy.folder)) + RECORDS
    for key in ("flash_bytes_per_token", "reads_per_token"):
        assert rows["overlap"][key] == rows["bundle"][key] > 0
    assert {row["io"] for row in figures["ladder"][:-2]} == {"profile"}
    assert rows["bundle"]["io"] == "imitated" and rows["bundle"]["io_share"] > 0
    assert rows["overlap"]["io"] == "imitated" and rows["overlap"]["seconds"] > 0
    ratio = rows["hybrid"]["seconds"] / rows["overlap"]["seconds"]
    assert figures["over_hybrid"] == pytest.approx(ratio)
    text = "\n".join(lines(figures))
    assert "ufs21 imitated, late" in text and "the same ids" in text and "naive" in text
    json.dumps(figures)


def test_a_dense_plan_computes_all_neurons(
    toy: FlashToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.offload.counts.MOST_LATE", 1e9)
    dense = Toy(tmp_path / "dense")
    options: dict[str, Any] = {"ladder": "lif", "flash": "ufs21", "dense": dense.folder}
    figures = bench(toy.folder, len(PROMPT), NEW, 1, memory=str(BUDGET), **options)
    whole = weight_bytes(load_plan(dense.folder))
    assert figures["ladder"][0]["flash_bytes_per_token"] == whole and figures["dense"] == "dense"


def test_rungs_of_power_infer_2(toy: FlashToy, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each one reads and misses; the imitation may be late where tests run."""
    monkeypatch.setattr("toolkit.offload.counts.MOST_LATE", 1e9)
    options: dict[str, Any] = {"ladder": "pi2", "flash": "ufs21", "memory": str(BUDGET)}
    figures = bench(toy.folder, len(PROMPT), NEW, 1, **options)
    parts, bundle, cache, pipeline, threads = figures["ladder"]
    names = ["parts", "bundle", "cache", "pipeline", "threads"]
    assert [row["rung"] for row in figures["ladder"]] == names and figures["ids_equal"] is True
    assert parts["reads_per_token"] > bundle["reads_per_token"] > cache["reads_per_token"] > 0
    assert cache["flash_bytes_per_token"] == pipeline["flash_bytes_per_token"]
    assert threads["hit_rate"] == pipeline["hit_rate"] and threads["seconds"] > 0
    assert parts["memory"] == bundle["memory"] < cache["memory"] <= BUDGET
    assert bundle["hit_rate"] == 0.0 < cache["hit_rate"] == pipeline["hit_rate"]
    assert pipeline["miss_mean"] == pytest.approx(1 - pipeline["hit_rate"])
    assert pipeline["miss_mean"] <= pipeline["miss_p99"] <= 1
    assert figures["most_record_bytes"] == figures["record_bytes"] > 0
    for before, row in pairwise(figures["ladder"]):
        assert row["over_before"] == before["seconds"] / row["seconds"]
        assert row["token_s"]["p50"] <= row["token_s"]["p90"] <= row["token_s"]["p99"]
    text = "\n".join(pi2_lines(figures))
    assert "ufs21 imitated, late" in text and "the same ids" in text and "pipeline" in text
    json.dumps(figures)


def test_what_tokens_miss_by_a_trace(plan: Plan, tmp_path: Path) -> None:
    """Of three tokens, the last two; what lies in memory is known after each gather."""
    told = [
        (-1, 0, [5], 0, [], []),
        (0, 0, [0, 1], 0, [[0, 3]], []),
        (1, 2, [1, 2], 1, [[2, 4], [1, 5]], [7]),
        (1, 3, [4, 6], 2, [], []),
        (2, 2, [1, 2], 0, [], [1]),
    ]
    keys = ("t", "g", "sel", "hit", "admit", "evict")
    lines = (json.dumps(dict(zip(keys, values, strict=True))) for values in told)
    (tmp_path / "trace").write_text("\n".join(lines))
    found = traced(tmp_path / "trace", 2)
    assert found.figures() == {"misses_per_token": 1.5, "miss_mean": 0.5, "miss_p99": 1.0}
    assert found.most_held(plan, (2, 0)) == 4 * RECORD.nbytes


@pytest.mark.parametrize("share, value", [(0.5, 3), (0.9, 5), (0.99, 5), (0.2, 1), (0.0, 1)])
def test_percentiles_are_values_that_there_were(share: float, value: float) -> None:
    assert percentile([5.0, 1.0, 4.0, 2.0, 3.0], share) == value


def test_plans_and_options_without_a_ladder(
    toy: FlashToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = Toy(tmp_path / "dense").folder
    for folder, options, because in (
        (dense, {"flash": "m1max"}, "no weights in flash"),
        (toy.folder, {}, "profile of a flash"),
    ):
        with pytest.raises(PocketError, match="--ladder has no rungs here") as told:
            bench(folder, ladder="lif", **options)
        assert because in str(told.value.because)
    every = selecting(load_plan(toy.folder), Select("all"), table=0)
    monkeypatch.setattr("toolkit.bench.flash.ladder.load_plan", lambda *_, **__: every)
    with pytest.raises(PocketError, match="no rungs") as told:
        bench(toy.folder, ladder="lif", flash="m1max")
    assert "no neurons by a threshold" in str(told.value.because)


@pytest.mark.parametrize(
    "words",
    [
        ("--ladder", "lif", "--memory", "50%,60%", "--flash", "m1max"),
        ("--ladder", "lif", "--memory", "auto", "--flash", "m1max"),
        ("--ladder", "lif", "--on", "host", "--flash", "m1max"),
        ("--ladder", "lif", "--compare", "onnxruntime"),
        ("--ladder", "five"),
    ],
)
def test_options_that_do_not_go_together(toy: FlashToy, words: tuple[str, ...]) -> None:
    for given in (words, ("--dense", str(toy.folder))):
        done = CliRunner().invoke(cli, ["bench", str(toy.folder), *given])
        assert done.exit_code == 2 and "--ladder" in done.output
