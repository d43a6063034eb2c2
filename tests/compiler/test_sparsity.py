"""--sparsity and --policy: each kind with each selector runs, is warned about or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from exports import DEMO
from flash_networks import made
from relu_demo import relu_demo, some_text

import toolkit
from onnx_passes.analysis.ffn import Ffn, find_ffns
from toolkit.calibration.calibrate import calibrate
from toolkit.cli.commands import POLICIES as TYPED_POLICIES
from toolkit.cli.commands import SPARSITIES as TYPED
from toolkit.cli.commands import cli
from toolkit.compiler.budget.ffn_kind import kind_of
from toolkit.compiler.budget.sparsity import SPARSITIES, selectors_of
from toolkit.compiler.calibrated import importances_of, uses_of
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import rewrite_with
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.verify import lines, verify
from toolkit.offload.legality import LEGALITY, unasked, verdict
from toolkit.offload.orders import importance_of, order_of
from toolkit.offload.policies import window_for
from toolkit.plan.load import load_plan
from toolkit.plan.schema import POLICIES, Plan
from toolkit.plan.text import to_json

ACTS = {  # kind -> activations of gate and up; a gate of None: there is none
    "reglu": ("Relu(v)", "v"),
    "drelu": ("Relu(v)", "Relu(v)"),
    "fatrelu": ("Where(Greater(v, 0.5), v, 0.0)", "v"),
    "relu": (None, "Relu(v)"),
    "sqrelu": (None, "Relu(v) * Relu(v)"),
    "swiglu": ("v * Sigmoid(v)", "v"),
    "geglu": ("0.5 * v * (1.0 + Erf(v * 0.7071067811865476))", "v"),
    "gelu": (None, "0.5 * v * (1.0 + Erf(v * 0.7071067811865476))"),
    "silu": (None, "v * Sigmoid(v)"),
}
CELLS = [(kind, sparsity) for kind in LEGALITY for sparsity in SPARSITIES[1:]]


@pytest.fixture(scope="module")
def network() -> Ffn:
    """Of a model; its activations are replaced."""
    source = load_source(DEMO)
    return find_ffns(rewrite_with(source, choose(source, {"class": "cpu"})))[0][0]


def of_kind(network: Ffn, kind: str) -> Ffn:
    gate, up_act = ACTS[kind]
    found = replace(network, gate=network.gate if gate else None, act=gate or "v", up_act=up_act)
    assert kind_of(found) == {"fatrelu": "reglu"}.get(kind, kind)  # which is alike in all cells
    return found


@pytest.mark.parametrize("kind, sparsity", CELLS)
def test_each_cell(
    network: Ffn, kind: str, sparsity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ffns, cell = [of_kind(network, kind)] * 2, verdict(kind, sparsity)
    told = "reglu" if kind == "fatrelu" else kind
    if cell.name == "refused":
        with pytest.raises(PocketError, match=f"--sparsity {sparsity} cannot be used") as caught:
            selectors_of(ffns, sparsity, [True, True])
        assert caught.value.because == f"layers.0.ffn is {told}: {cell.reason}"
        instead = caught.value.hint.split()[1]
        assert verdict(kind, instead).name in ("exact", "calibrated")
    else:
        assert selectors_of(ffns, sparsity, [True, True]) == (sparsity,) * 2
    noted = capsys.readouterr().err.splitlines()
    warning = f"warning: --sparsity {sparsity}: layers.0.ffn is {told}: {cell.reason}"
    assert noted == ([warning] if cell.name == "warned" else [])


@pytest.mark.parametrize("kind", LEGALITY)
@pytest.mark.parametrize("known", [False, True])
def test_auto_never_takes_what_is_warned_of(
    network: Ffn, kind: str, known: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for sparsity in (None, "auto"):
        (found,) = selectors_of([of_kind(network, kind)], sparsity, [known])
        assert verdict(kind, found).name in ("exact", "calibrated")
        assert found == ("lowrank" if known and found != unasked(kind) else unasked(kind))
    assert capsys.readouterr().err == ""


def test_what_a_calibration_does_not_predict(network: Ffn) -> None:
    with pytest.raises(PocketError, match="lowrank cannot be used") as caught:
        selectors_of([of_kind(network, "swiglu")], "lowrank", [False])
    assert "predicts no neuron of layers.0.ffn, which is swiglu" in caught.value.because
    odd = replace(of_kind(network, "reglu"), act="Max(v, 0.0)")
    with pytest.raises(PocketError, match="gate cannot be used"):
        selectors_of([odd], "gate", [False])
    assert selectors_of([odd], None, [False]) == ("gate",)


def test_the_options_are_those_there_are() -> None:
    assert TYPED == SPARSITIES and TYPED_POLICIES == POLICIES
    done = CliRunner().invoke(cli, ["compile", str(DEMO), "--sparsity", "luck", "--memory", "60%"])
    assert done.exit_code == 2


@pytest.mark.parametrize(
    "options, says",
    [
        ({"sparsity": "luck"}, "--sparsity luck is not known"),
        ({"policy": "hope"}, "--policy hope is not known"),
        ({"sparsity": "gate", "memory": None}, "--sparsity goes with --memory"),
        ({"policy": "lru", "memory": None}, "--policy goes with --memory"),
        ({"sparsity": "lowrank"}, "--sparsity lowrank goes with --calibration"),
        ({"policy": "importance"}, "--policy importance goes with --calibration"),
        ({"sparsity": "gate", "batch": 2}, "--sparsity gate does not go with --batch"),
        ({"sparsity": "gate"}, "--sparsity gate cannot be used"),
        ({"sparsity": "dip-ca"}, "--sparsity dip-ca goes with --density"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    """Of the demo model, which is swiglu."""
    with pytest.raises(PocketError, match=says):
        toolkit.compile(DEMO, tmp_path / "m.plan", **{"memory": "99%", **options})
    assert not (tmp_path / "m.plan").exists()


def test_auto_is_what_is_done_by_itself() -> None:
    source, usual = load_source(DEMO), dict[str, Any](memory="60%")
    assert choose(source, {"class": "cpu"}, **usual, sparsity="auto") == choose(
        source, {"class": "cpu"}, **usual
    )


def selects(plan: Plan) -> set[str]:
    decode = plan.phase("decode")
    return set() if decode is None else {gather.select.by for gather in decode.gathers()}


def test_all_is_read_although_gates_tell(tmp_path: Path) -> None:
    done = made(tmp_path, "reglu", sparsity="all", policy="lru")
    assert (done.figures["selector"], done.figures["policy"]) == ("all", "lru")
    plan = load_plan(done.path)
    assert selects(plan) == {"all"}
    assert [part.name for part in plan.tables[0].parts] == ["gate", "up", "down"]
    assert plan.points[-1].pinned == plan.points[-1].slots
    assert verify(done.path, on="host")["ok"]


@pytest.mark.parametrize("policy", ["static", "window"])
def test_policies_without_a_calibration(tmp_path: Path, policy: str) -> None:
    done = made(tmp_path, "reglu", sparsity="gate", policy=policy)
    (point,) = load_plan(done.path).points
    assert (done.figures["selector"], point.policy, point.window) == ("gate", policy, ())
    assert point.pinned == (point.slots if policy == "static" else (0,))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model, with its calibration beside it."""
    folder = tmp_path_factory.mktemp("sparsity")
    source = relu_demo(folder / "relu")
    calibrate(load_source(source), some_text(folder / "text.txt", 200), folder / "c", 200)
    yield source


def with_thresholds(plan: Path, more: float) -> Path:
    """The plan with other thresholds of its tables than those of the model."""
    other = Path(shutil.copytree(plan, plan.with_suffix(f".{more}.plan")))
    loaded = load_plan(other)
    points = (replace(p, select=tuple(n + more for n in p.select)) for p in loaded.points)
    (other / "plan.json").write_text(to_json(replace(loaded, points=tuple(points))))
    return other


@pytest.mark.slow
def test_near_ties_of_thresholds_are_excused_and_other_masks_are_not(
    calibrated: Path, tmp_path: Path
) -> None:
    """Plans whose thresholds are a little off, or more than rounding explains."""
    options: dict[str, Any] = {"max_context": 72, "memory": "99.5%", "max_loss": "90%"}
    options |= {"weights": "e0m4", "prefill_chunk": 64}
    done = toolkit.compile(
        calibrated, tmp_path / "m.plan", **options, calibration=calibrated.parent / "c"
    )
    right = verify(done.path)
    decode = next(case for case in right["cases"] if case["name"] == "decode-32")
    assert right["ok"] and decode["masks"] == 5 * 32 and decode["masks_agree"] > 0.999
    near, wrong = (verify(with_thresholds(done.path, more)) for more in (0.002, 0.5))
    for report in (near, wrong):
        decode = next(case for case in report["cases"] if case["name"] == "decode-32")
        assert decode["masks_agree"] < 1 and decode["nmse"] < 1e-4  # it is followed
        assert decode["judged_rows"] == 33 and (decode["near_ties"] > 0) == (report is near)
        assert report["ok"] == (report is near)
    assert any("no rounding explains it" in line for line in lines(wrong))


@pytest.mark.slow
def test_points_have_what_their_policy_needs(calibrated: Path, tmp_path: Path) -> None:
    folder = calibrated.parent / "c"
    options: dict[str, Any] = {"weights": "e0m4", "max_context": 72, "prefill_chunk": 64}
    options |= {"memory": "99.5%", "calibration": folder, "max_loss": "90%"}
    options["group"] = 16  # of larger ones records are half empty: memory holds too few
    done = toolkit.compile(calibrated, tmp_path / "w.plan", **options, policy="window")
    plan, uses = load_plan(done.path), uses_of(str(folder), done.figures["recall"])
    often = [np.sort(each.frequency)[::-1] for each in uses]
    for point in plan.points:
        assert point.policy == "window"
        sizes = zip(often, point.slots, point.pinned, strict=True)
        assert point.window == tuple(window_for(*each) for each in sizes)
    assert max(max(point.window) for point in plan.points) > 1
    assert verify(done.path)["ok"]

    done = toolkit.compile(calibrated, tmp_path / "i.plan", **options, policy="importance")
    plan = load_plan(done.path)
    for table, known in zip(plan.tables, importances_of(str(folder)), strict=True):
        order, found = order_of(done.path, plan, table), importance_of(done.path, plan, table)
        assert order is not None and found is not None
        np.testing.assert_array_equal(found, known[order])
    assert verify(done.path)["ok"]

    exact = options | {"max_loss": None}
    for sparsity, selector, by in (("gate", "gate", "above"), ("all", "all", "all")):
        done = toolkit.compile(calibrated, tmp_path / "g.plan", **exact, sparsity=sparsity)
        assert (done.figures["selector"], done.figures["recall"]) == (selector, None)
        assert selects(load_plan(done.path)) == {by}
    # An untrained model may be better with predictors: theirs are made to cost something.
    costly = shutil.copytree(folder, tmp_path / "costly")
    facts = json.loads((costly / "calibration.json").read_text())
    facts["points"] = [point | {"loss": point["loss"] + 0.5} for point in facts["points"]]
    (costly / "calibration.json").write_text(json.dumps(facts))
    dear = options | {"max_loss": "0", "sparsity": "lowrank", "calibration": costly}
    with pytest.raises(PocketError, match=r"no predictor costs at most 0\.00%") as caught:
        toolkit.compile(calibrated, tmp_path / "x.plan", **dear)
    loss = caught.value.hint.removeprefix("--max-loss ")
    done = toolkit.compile(calibrated, tmp_path / "x.plan", **dear | {"max_loss": loss})
    assert done.figures["selector"] == "lowrank"
