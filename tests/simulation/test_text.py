"""A text that no plan has run: the simulator finds what a run of it finds, and reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flash_networks import GATED, RELU, made
from flash_rows import UNTIED, V, made_worded
from relu_demo import relu_demo, some_text
from toy import Toy

import toolkit
from toolkit.calibration.calibrate import calibrate
from toolkit.cli.commands import cli
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.estimate.estimate import estimate
from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.generation.tokenizer import load_tokenizer
from toolkit.offload.access_trace import ahead_line, line
from toolkit.offload.machine import Ahead, Outcome
from toolkit.plan.load import load_plan
from toolkit.simulation.accesses import Access
from toolkit.simulation.known import Case, Known
from toolkit.simulation.replay import Replayed, replay
from toolkit.simulation.rows import row
from toolkit.simulation.simulate import simulate
from toolkit.simulation.text import Text


def fed(
    plan: Path, ids: list[int], trace: Path, of: Any = RunnerExecutor, **options: Any
) -> list[str]:
    """Lines of a run that feeds them one by one."""
    executor = of(plan, trace=trace, **options)
    for position, token in enumerate(ids):
        executor.step(token, position)
    executor.close()
    return trace.read_text().splitlines()


def simulated(path: Path, model: Path, ids: list[int], memory: str | None = None) -> list[str]:
    """Lines of the plan's own policy for these ids."""
    plan = load_plan(path)
    known, lines = Known.of(path, plan, None), dict[tuple[int, float], str]()
    policy = plan.points[-1].policy
    case = known.case(memory, policy, "plan")

    def seen(access: Access, outcome: Outcome, ahead: Ahead | None) -> None:
        if ahead is not None:
            early = ahead_line(access.step, access.gather.table, ahead)
            lines[access.step, access.number - 0.5] = early
        lines[access.step, access.number] = line(access.step, access.number, outcome)

    for number, accesses in Text(plan, load_source(model), ids, lambda _: None).by_table():
        held = known.tables[number]
        replay(held, accesses, case.point, policy, known.flash, known.costs, seen=seen)
    return [lines[key] for key in sorted(lines)]


@pytest.mark.parametrize("kind", ["biased reglu", "swiglu"])
def test_it_finds_what_a_run_finds(tmp_path: Path, cache: Path, kind: str) -> None:
    """Gates that tell, and networks that are read whole."""
    done = made(tmp_path, kind)
    ids = np.random.default_rng(3).integers(0, 40, 25).tolist()
    found = fed(done.path, ids, tmp_path / "trace")
    assert found == simulated(done.path, tmp_path / "model.onnx", ids)
    selected = [len(json.loads(each)["sel"]) for each in found]
    assert (max(selected) == 700) == (kind == "swiglu")


def test_rows_of_an_embedding_are_those_of_the_ids(tmp_path: Path) -> None:
    done = made_worded(tmp_path, *UNTIED, memory="75%")
    ids = np.random.default_rng(4).integers(0, V, 25).tolist()
    found = fed(done.path, ids, tmp_path / "trace", HostExecutor)
    assert found and found == simulated(done.path, tmp_path / "model.onnx", ids)
    told = simulate(done.path, trace=tmp_path / "trace", policy=["lru", "belady"])
    assert told["tokens"] == 25 and told["rows"][0]["hits"] <= told["rows"][1]["hits"]
    every = simulate(done.path, trace=tmp_path / "trace")["rows"]
    assert [each["policy"] for each in every] == ["static", "lru", "lfu", "window", "belady"]
    gather = {"g": json.loads(found[0])["g"], "sel": [2**65]}
    (tmp_path / "trace").write_text(json.dumps({"t": 0, **gather}))
    with pytest.raises(PocketError, match=f"has {V} records"):
        simulate(done.path, trace=tmp_path / "trace")


def test_where_all_is_in_memory_it_predicts_what_estimate_does(tmp_path: Path) -> None:
    """A device that chooses itself waits for nobody; only how many neurons are needed differs."""
    options: dict[str, Any] = {"memory": "95%", "sparsity": "gate", "device": "snapdragon-8-gen-3"}
    done = made_worded(tmp_path, *UNTIED, (GATED, RELU), **options)
    known, found = Known.of(done.path, load_plan(done.path), None), Replayed()
    point, source = known.case("100%", "static", "plan").point, load_source(tmp_path / "model.onnx")
    text = Text(known.plan, source, list(range(25)), lambda _: None)
    for number, accesses in text.by_table():
        table = known.tables[number]
        found += replay(table, accesses, point, "static", known.flash, known.costs)
    told = row(known, Case(point, "static", "plan"), found, text.tokens, None)
    (estimated,) = estimate(done.path, memory="100%", prompt_tokens=1)["points"]
    assert told["tokens_per_s"] == pytest.approx(estimated["predicted_tokens_per_s"], rel=0.03)


@pytest.mark.slow
def test_of_predicted_neurons_a_run_finds_the_same(tmp_path: Path, cache: Path) -> None:
    """The trained story teller with ReLU: tokens by its own tokenizer, planned by frequencies."""
    model, text = relu_demo(tmp_path / "relu"), some_text(tmp_path / "text.txt", 200)
    calibrate(load_source(model), text, tmp_path / "c", 200)
    sizes: dict[str, Any] = {"weights": "e0m4", "max_context": 256, "memory": "97%"}
    done = toolkit.compile(
        model, tmp_path / "m.plan", **sizes, calibration=tmp_path / "c", max_loss="90%"
    )
    assert done.figures["selector"] == "lowrank"
    file = done.path / "plan.json"
    written = json.loads(file.read_text())
    full = [point for point in written["points"] if point.get("flash", 1) == 1]
    file.write_text(json.dumps({**written, "points": full}))  # else a slow disk changes the point
    ids = load_tokenizer(done.path).encode(text.read_text(), True)[:100]
    lines = fed(done.path, ids, tmp_path / "trace")
    assert lines == simulated(done.path, model, ids)
    early = map(json.loads, fed(done.path, ids, tmp_path / "early", HostExecutor))
    both = [{k: row[k] for k in ("t", "g", "sel", "hit")} for row in early if "g" in row]
    every = [json.loads(each) for each in lines]
    of = [each for each in every if "g" in each]
    assert both == [{key: row[key] for key in both[0]} for row in of]
    figures = simulate(done.path, text, tokens=100, selector=["plan", "oracle"], flash="ufs31")
    plan, oracle = (
        figures["rows"][: len(figures["rows"]) // 2],
        figures["rows"][len(figures["rows"]) // 2 :],
    )
    policy = load_plan(done.path).points[-1].policy
    [row] = [each for each in plan if each["policy"] == policy]
    assert not row["ahead_left_out"]
    assert row["ahead_records"] == sum(len(each["want"]) for each in every if "p" in each)
    assert row["hits"] == sum(each["hit"] for each in of)
    assert row["read_bytes"] == sum(each["read"] for each in every)
    (needed,) = {each["selected"] for each in oracle}  # whatever is predicted, and kept
    assert 0 < needed != row["selected"]


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    source = relu_demo(tmp_path / "relu")
    sizes: dict[str, Any] = {"weights": "e0m4", "max_context": 64, "prefill_chunk": 32}
    plan = toolkit.compile(source, tmp_path / "m.plan", **sizes, memory="97%").path
    text = some_text(tmp_path / "text.txt", 30)
    words = ["simulate", str(plan), "--text", str(text), "--tokens", "20", "--flash", "ufs31"]
    done = CliRunner().invoke(cli, [*words, "--memory", "97%,99%"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    heads, *rows = [each.split() for each in done.stdout.splitlines()[1:12]]
    assert heads[:3] == ["memory", "records", "policy"]
    assert [row[4] for row in rows] == ["static", "lru", "lfu", "window", "belady"] * 2
    figures = json.loads(
        CliRunner().invoke(cli, [*words, "--json", "--policy", "lru,belady"]).stdout
    )
    lru, belady = figures["rows"]
    assert (lru["policy"], belady["policy"], figures["tokens"]) == ("lru", "belady", 20)
    assert lru["misses_over_belady"] > 1 == belady["misses_over_belady"]
    assert lru["read_s_per_token"] > belady["read_s_per_token"] > 0
    for option in ("--selector", "--policy"):
        done = CliRunner().invoke(cli, [*words, option, ","])
        assert done.exit_code == 2 and "names nothing" in done.output
    short = tmp_path / "short.txt"
    short.write_text("Hi")
    with pytest.raises(PocketError, match="too short to simulate"):
        simulate(plan, short)
    with pytest.raises(PocketError, match="reads nothing from flash"):
        simulate(Toy(tmp_path / "dense").folder, text)
