"""Operating points of DIP in a calibration: what ONNX Runtime computes with the same masks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from exports import DEMO
from relu_demo import STORY

from onnx_passes import Facts, mask_ffn
from onnx_passes.analysis.ffn import find_ffns
from onnx_passes.ir.facts import Density
from onnx_passes.ir.infer import infer
from toolkit.calibration.calibrate import calibrate
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.report import lines
from toolkit.calibration.sparse import points
from toolkit.calibration.sparse.caches import Cache
from toolkit.calibration.sparse.case import Case, Judged
from toolkit.calibration.sparse.judge import judge
from toolkit.calibration.sparse.points import CASES, _Known, is_complete
from toolkit.calibration.sparse.room import Held, slots
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import rewrite_with
from toolkit.compiler.source import load_source
from toolkit.devices.resolve import resolve_device
from toolkit.predictors.folder import Folder

LAYERS, TOKENS = 5, 80
SOME = [case for case in CASES if case.density in (0.5, 0.9) and case.gamma in (1.0, 0.1)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("points")
    (folder / "text.txt").write_text(STORY)
    return folder / "c", calibrated(folder / "c")


def calibrated(out: Path, tokens: int = TOKENS) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "ROUND", 2 * TOKENS)
        patch.setattr(points, "CASES", SOME)
        return calibrate(load_source(DEMO), out.parent / "text.txt", out, tokens)


def model_of() -> ir.Model:
    source = load_source(DEMO)
    return rewrite_with(source, choose(source, resolve_device(None, None), weights="f32"))


def test_every_point_has_its_loss(made: tuple[Path, dict[str, Any]]) -> None:
    out, facts = made
    found = facts["dip"]
    assert facts["points"] == [] and len(found) == 2 + 2 * 3
    assert len(CASES) == 5 + 5 * 3 * 3
    by = {(p["density"], p["gamma"], p["memory"]): p for p in found}
    assert {p["selector"] for p in found if p["gamma"] < 1} == {"dip-ca"}
    for density in (0.5, 0.9):
        assert by[density, 0.1, 0.5]["missed"] < by[density, 1.0, 0.5]["missed"]
        at_more = [by[density, 0.1, memory]["missed"] for memory in (0.25, 0.5, 0.75)]
        assert at_more == sorted(at_more, reverse=True)
    assert abs(by[0.9, 1.0, 0.5]["loss"]) < by[0.5, 0.1, 0.5]["loss"]
    layer = Folder(out).layer(LAYERS - 1)
    assert list(layer.taken) == [0.5, 0.6, 0.7, 0.8, 0.9] and layer.predicted is None
    taken = layer.taken[0.5]
    assert taken.inputs.sum() == pytest.approx(int(0.574466 * 128), abs=1)
    assert len(taken.units) == 384 and taken.units.min() >= 0 and taken.units.max() <= 1
    printed = "\n".join(lines(out, facts))
    assert "gamma 0.1" in printed and "  0.9 " in printed


def in_onnx_runtime(density: Density, cached: tuple[np.ndarray, ...], ids: list[int]) -> np.ndarray:
    """Nats of a text that is fed token by token to the masked graph."""
    model = model_of()
    replace(Facts.of(model), densities=(density,), cached=cached).note(model)
    assert mask_ffn(model).rewrites == LAYERS
    infer(model)
    reference = Reference.of(model)
    rows = np.concatenate([reference.score([each]) for each in ids]).astype(np.float64)[:-1]
    found: np.ndarray = np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(len(rows)), ids[1:]]
    return found


def test_its_losses_are_those_of_the_masked_graph(made: tuple[Path, dict[str, Any]]) -> None:
    case = Case("dip-ca", 0.5, 0.3, 0.5)
    ids, model = list(range(3, 30)), model_of()
    ffns, _ = find_ffns(model)
    window = Judged(ids, case=case)
    judge(model, ffns, [window], _Known(Folder(made[0])))
    cached: list[np.ndarray] = []
    for level, ffn in enumerate(ffns):
        neurons, taken = Neurons.of(ffn), Folder(made[0]).layer(level).taken[case.density]
        tables = Held(128, 2 * 384), Held(384, 128)
        rooms = slots(case.memory, neurons.numbers, tables)
        for often, room in zip((taken.inputs, taken.units), rooms, strict=True):
            held = Cache(np.argsort(-often, kind="stable"), room).fixed
            assert held is not None
            cached.append(held)
    wanted = in_onnx_runtime(Density(case.density, case.gamma), tuple(cached), ids)
    assert window.nats is not None
    np.testing.assert_allclose(window.nats, wanted, rtol=1e-3, atol=1e-3)


def of_an_older_version(made: Path, out: Path) -> dict[str, Any]:
    """The calibration without what this version keeps besides; what it was made of."""
    folder = Folder(Path(shutil.copytree(made, out)))
    for file in out.glob("points.*.json"):
        file.unlink()
    for number in range(2, LAYERS):
        folder.add(number, replace(folder.layer(number), taken={}))
    facts = folder.finished()
    facts["layers"] = [{**e, "sha256": folder.digest(n)} for n, e in enumerate(facts["layers"])]
    del facts["dip"]
    folder.write(facts)
    made_of: dict[str, Any] = facts["made_of"]
    return made_of


def test_layers_that_lack_something_are_made_again(
    made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    made_of = of_an_older_version(made[0], tmp_path / "c")
    assert Folder(tmp_path / "c").begin(made_of, is_complete) == 2
    assert len(list((tmp_path / "c").glob("layer.*.npz"))) == 2


@pytest.mark.slow
def test_an_older_calibration_is_made_again(made: tuple[Path, dict[str, Any]]) -> None:
    out, facts = made[0].parent / "older", made[1]  # beside the text
    of_an_older_version(made[0], out)
    again = calibrated(out)
    assert {**again, "seconds": 0} == {**facts, "seconds": 0}


@pytest.mark.slow
def test_rounds_that_are_done_are_not_made_again(
    made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, facts = made
    rounds = sorted(out.glob("points.*.json"))
    assert len(rounds) == 2
    rounds[1].write_text("[{}]")
    seen: list[int] = []
    real = points.judge

    def counted(model: Any, ffns: Any, windows: list[Judged], *rest: Any) -> None:
        seen.append(len(windows))
        real(model, ffns, windows, *rest)

    monkeypatch.setattr(points, "judge", counted)
    again = calibrated(out)
    assert len(seen) == 1 and json.loads(rounds[1].read_text())[0]["selector"] == "dip-ca"
    assert {**again, "seconds": 0} == {**facts, "seconds": 0}
    Folder(out).begin({**facts["made_of"], "window": 1})
    assert not list(out.glob("points.*.json"))  # of something else nothing is kept
