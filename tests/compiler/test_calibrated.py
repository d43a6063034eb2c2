"""Plans whose neurons are predicted: the masked model in ONNX Runtime says what is right."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exports import DEMO
from relu_demo import relu_demo, some_text

import toolkit
from toolkit.calibration.calibrate import calibrate
from toolkit.compiler.budget import costs
from toolkit.compiler.budget.point import AHEAD
from toolkit.compiler.budget.told import budget_lines
from toolkit.compiler.calibrated import loss_of, uses_of
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.rewriting.passes import rewritten_for
from toolkit.compiler.source import load_source
from toolkit.compiler.vectors.tests import untested_kernels
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError
from toolkit.evaluation.perplexity import evaluate, lines, log_softmax
from toolkit.evaluation.verify import verify
from toolkit.offload.flash_model import flash
from toolkit.offload.orders import order_of
from toolkit.offload.points import choose_point
from toolkit.plan.load import load_plan

SIZES: dict[str, Any] = {
    "weights": "e0m4",
    "max_context": 72,
    "prefill_chunk": 64,
    "memory": "99%",
}
RATES = {"bandwidth_measured_gbs": 20.0, "fp32_tflops": 0.1}  # of a device that has been measured


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, with its calibration beside it."""
    folder = tmp_path_factory.mktemp("calibrated")
    source = relu_demo(folder / "relu")
    text = some_text(folder / "text.txt", 200)
    calibrate(load_source(source), text, folder / "c", 200)
    return source


def compiled(model: Path, out: Path, **options: Any) -> Any:
    return toolkit.compile(model, out, **{**SIZES, "calibration": model.parent / "c", **options})


@pytest.fixture(scope="module")
def done(model: Path) -> Any:
    """Compiled with the calibration."""
    return compiled(model, model.parent / "m.plan", max_loss="90%")


def test_it_computes_what_the_masked_model_does(done: Any) -> None:
    assert done.figures["selector"] == "lowrank" and 0 < done.figures["density"] < 1
    plan = load_plan(done.path)
    decode = plan.phase("decode")
    assert decode and {g.select.by for g in decode.gathers()} == {"above"}
    for name in ("prefill", "score"):
        phase = plan.phase(name)
        assert phase and {g.select.by for g in phase.gathers()} == {"all"}
    assert done.figures["short_prompt"] == plan.model["short_prompt"] >= 2
    report = verify(done.path, on="host")
    assert report["ok"], report
    names = {case["name"] for case in report["cases"]}
    assert {"prefill-2", "prefill-64", "prefill-65"} <= names  # masked; not; the last token is


def ahead(model: Path, out: Path) -> Any:
    """With networks of GPUs, which the ones before foresee."""
    return compiled(model, out, max_loss="90%", memory="97%", device="generic")


def test_what_looks_ahead_is_stored_as_what_it_copies(model: Path, tmp_path: Path) -> None:
    """Scores are read as floats, those of the next network too where activations are halves."""
    plan = load_plan(ahead(model, tmp_path / "m.plan").path)
    decode = plan.phase("decode")
    assert decode is not None and plan.points[-1].ahead
    types = {each.name: each.dtype for each in decode.scratch}
    copies = [name for name in types if name.endswith(".ahead")]
    assert copies and "f16" in types.values()  # of the networks of which enough is missed
    for name in copies:
        original = name.removesuffix(".ahead")
        assert types.get(original, types[name]) == types[name]
    assert plan.tests and not untested_kernels(plan)  # no answer depends on what only looks ahead
    assert "gemv" in untested_kernels(replace(plan, tests=()))


@pytest.mark.slow
def test_what_looks_ahead_changes_no_answer(model: Path, tmp_path: Path) -> None:
    report = verify(ahead(model, tmp_path / "m.plan").path, on="host")
    assert report["ok"], report


def test_eval_measures_what_predictors_cost(model: Path, done: Any, tmp_path: Path) -> None:
    """Token by token, as the masked model does in ONNX Runtime; all neurons beside it."""
    ids = np.random.default_rng(0).integers(3, 200, 30)
    np.save(tmp_path / "ids.npy", ids)
    figures = evaluate(done.path, tmp_path / "ids.npy", reference=False, on="host")
    plan = load_plan(done.path)
    masked = Reference.rewritten(load_source(model), plan)
    rows = [log_softmax(masked.feed([token]))[0, after] for token, after in pairwise(ids.tolist())]
    assert figures["perplexity"] == pytest.approx(np.exp(-np.mean(rows)), rel=1e-3)
    assert figures["all_neurons_perplexity"] != pytest.approx(figures["perplexity"], rel=1e-3)
    assert any("all neurons" in line for line in lines({"device": "", **figures}))


def test_where_no_point_is_cheap_enough_what_is_exact_is_taken(model: Path, tmp_path: Path) -> None:
    file = model.parent / "c/calibration.json"
    facts = json.loads(file.read_text())
    dear = [{**point, "loss": 0.5} for point in facts["points"]]
    file.write_text(json.dumps({**facts, "points": dear}))
    done = compiled(model, tmp_path / "m.plan")
    file.write_text(json.dumps(facts))
    assert (done.figures["selector"], done.figures["recall"]) == ("gate", None)
    assert any("none is used" in line for line in budget_lines(done.figures))


@pytest.mark.slow
def test_where_the_embedding_is_enough_nothing_is_predicted(tmp_path: Path) -> None:
    """A calibration tells how networks are read, should they have to be."""
    source = relu_demo(tmp_path / "relu")
    exported = onnx.load(source / "model.onnx")
    (table,) = (t for t in exported.graph.initializer if "embed_tokens" in t.name)
    changed = np.roll(onnx.numpy_helper.to_array(table), 1, axis=0)  # the head is another matrix
    table.CopyFrom(onnx.numpy_helper.from_array(changed, table.name))
    onnx.save(exported, source / "model.onnx")
    calibrate(load_source(source), some_text(tmp_path / "text.txt", 60), tmp_path / "c", 60)
    chosen = SIZES | {"calibration": tmp_path / "c", "max_loss": "90%"}
    done = toolkit.compile(source, tmp_path / "m.plan", **chosen)
    assert [each.kind for each in done.plan.tables] == ["row"]
    assert "max_loss" not in done.figures and done.figures["selector"] == "ids"
    assert any("FFNs stay in memory" in line for line in budget_lines(done.figures))
    asked = toolkit.compile(source, tmp_path / "n.plan", **chosen, sparsity="lowrank")
    assert asked.figures["selector"] == "lowrank" and len(asked.plan.tables) > 1


def test_where_nothing_is_to_be_predicted_no_predictor_is_told_of(
    model: Path, tmp_path: Path
) -> None:
    done = compiled(model, tmp_path / "m.plan", sparsity="gate")
    assert (done.figures["max_loss"], done.figures["recall"]) == (None, None)
    told = list(budget_lines(done.figures))
    assert told and not any("predictor" in line for line in told)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"memory": None}, "--calibration goes with --memory"),
        ({"calibration": None, "max_loss": "1%"}, "--max-loss goes with --calibration"),
        ({"max_loss": "1%", "sparsity": "gate"}, "--max-loss does not go with --sparsity gate"),
        ({"max_loss": "1%", "sparsity": "all"}, "--max-loss does not go with --sparsity all"),
        ({"max_loss": "much"}, "--max-loss much is no loss"),
        ({"max_loss": "100%"}, "--max-loss 100% is no loss"),
        ({"batch": 2}, "--calibration does not go with --batch 2"),
        ({"calibration": DEMO}, "is no calibration"),
        ({"rate": 5}, "--rate and --memory don't go together"),
        ({"memory": None, "calibration": None, "rate": 5}, "--rate goes with --calibration"),
        ({"calibration": None, "flash": "ufs40"}, "--flash goes with --calibration"),
        ({"flash": "floppy"}, "no flash is called floppy"),
        ({"memory": None, "rate": 0}, "--rate 0 is no rate"),
    ],
)
def test_what_does_not_go_together(
    model: Path, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(PocketError, match=says):
        compiled(model, tmp_path / "m.plan", **options)
    assert not (tmp_path / "m.plan").exists()


def test_another_models_calibration_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(PocketError, match="made for another model"):
        toolkit.compile(DEMO, tmp_path / "m.plan", **SIZES, calibration=model.parent / "c")


@pytest.mark.parametrize("text, loss", [("1%", 0.01), ("0.5 %", 0.005), (0.02, 0.02), ("0", 0.0)])
def test_losses_are_shares(text: str | float, loss: float) -> None:
    assert loss_of(text) == pytest.approx(loss)


def test_a_plan_knows_its_calibration(model: Path, done: Any) -> None:
    """One that was made anew since has other predictors: a plan isn't compared with these."""
    file = model.parent / "c/calibration.json"
    facts = file.read_text()
    layers = json.loads(facts)["layers"]
    layer = model.parent / "c/layer.000.npz"
    before = layer.read_bytes()
    layer.write_bytes(before + b"more")
    layers[0]["sha256"] = hashlib.sha256(before + b"more").hexdigest()
    file.write_text(json.dumps({**json.loads(facts), "layers": layers}))
    with pytest.raises(PocketError, match="was made anew") as caught:
        rewritten_for(load_source(model), load_plan(done.path))
    layer.write_bytes(before)
    file.write_text(facts)
    assert "compile the model again" in caught.value.hint


@pytest.mark.slow
def test_points_are_planned_and_their_times_predicted(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the budget, most frequent neurons first; the rest of what is told follows from it."""
    known = {**profiles(), "pocl": {**profiles()["pocl"], **RATES}}
    monkeypatch.setattr(costs, "profiles", lambda: known)
    done = compiled(model, tmp_path / "m.plan", max_loss="90%", flash="ufs21")
    plan, figures = load_plan(done.path), done.figures
    points, counts = plan.points, [table.count for table in plan.tables]
    assert 6 < len(points) <= 24 and figures["flash"] == "ufs21" and points[-1].flash == 1
    assert plan.flash == flash("ufs21").planned
    for speed in (0.25, 0.5):  # of more memory none is slower, of a slower flash each is
        slower = [point for point in points if point.flash == speed]
        times = [point.predicted_s for point in slower]
        assert times == sorted(times, reverse=True) and len(times) > 2
        assert choose_point(plan, points[-1].memory, speed) == slower[-1]
        assert all(choose_point(plan, p.memory).predicted_s <= p.predicted_s for p in slower)
    points = tuple(point for point in points if point.flash == 1)
    assert points[-1].memory <= figures["budget_bytes"] and points[0].slots == (0,) * len(counts)
    times = [point.predicted_s for point in points]
    assert times == sorted(times, reverse=True) and times[-1] > 0
    assert figures["predicted_tokens_per_s"] == pytest.approx(1 / times[-1])
    assert any("predicted" in line and "ufs21" in line for line in budget_lines(figures))
    uses = uses_of(str(model.parent / "c"), figures["recall"])
    assert figures["recall"] is not None
    for table, often in zip(plan.tables, (use.frequency for use in uses), strict=True):
        order = order_of(done.path, plan, table)
        assert order is not None and (np.diff(often[order]) <= 0).all()

    # the inverse: the least memory for the rate of one of them
    rate = 1 / times[2]
    least = compiled(
        model, tmp_path / "r.plan", max_loss="90%", flash="ufs21", memory=None, rate=rate
    )
    assert least.figures["predicted_tokens_per_s"] >= rate * (1 - 1e-9)
    budget = least.figures["budget_bytes"]
    fewer = compiled(model, tmp_path / "f.plan", max_loss="90%", flash="ufs21", memory=budget - 1)
    assert points[1].memory < budget <= points[2].memory
    assert fewer.figures["predicted_tokens_per_s"] < rate
    with pytest.raises(PocketError, match="no memory gives 1e\\+09 tokens/s") as caught:
        compiled(model, tmp_path / "x.plan", memory=None, rate=1e9)
    assert "tokens/s are predicted" in caught.value.because
    best = float(caught.value.hint.removeprefix("--rate ").split(",")[0])
    fastest = compiled(model, tmp_path / "x.plan", memory=None, rate=best)
    assert not fastest.plan.tables and verify(fastest.path, on="host")["ok"]


def test_where_nothing_is_gained_nothing_is_read_ahead(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow flash has no time for reads that may be in vain: not even their programs are there."""
    known = {**profiles(), "pocl": {**profiles()["pocl"], **RATES, "wait_us": 30}}
    monkeypatch.setattr(costs, "profiles", lambda: known)
    slow, fast = (
        compiled(model, tmp_path / name, max_loss="90%", flash=name) for name in ("ufs21", "a18")
    )
    decode = slow.plan.phase("decode"), fast.plan.phase("decode")
    assert decode[0] and not decode[0].prefetches()
    assert not any(any(point.ahead) for point in slow.plan.points)
    assert decode[1] and decode[1].prefetches()
    last = [point for point in fast.plan.points if point.flash == 1][-1]
    assert min(last.ahead) == 0  # no layer but those of which enough is missed
    assert 0 < max(last.ahead) <= AHEAD
    assert len(slow.plan.programs) < len(fast.plan.programs)


def test_a_rate_needs_to_know_how_fast_the_device_computes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmeasured = {k: fact for k, fact in profiles()["pocl"].items() if k not in RATES}
    monkeypatch.setattr(costs, "profiles", lambda: {**profiles(), "pocl": unmeasured})
    with pytest.raises(PocketError, match="of 'pocl' is not known"):
        compiled(model, tmp_path / "m.plan", memory=None, rate=1)
