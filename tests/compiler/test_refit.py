"""Plans of DIP whose last matrices are refitted, as a calibration has confirmed it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from flash_networks import F, planned, written
from onnx import numpy_helper

from toolkit.compiler.budget import fit
from toolkit.compiler.budget.dip.pruned import measured
from toolkit.compiler.budget.told import budget_lines
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.verify import verify
from toolkit.plan.load import load_plan
from toolkit.predictors.folder import Folder
from toolkit.predictors.layer import Layer, Sizes, Taken

D, DENSITY = 32, 0.5
Row = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def large() -> Iterator[None]:
    """Tiles and reads of so small a network take more than it: as if it were a larger one's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "dense_bytes", lambda *_: 10**9)
        yield


def row(loss: float, gamma: float = 1.0, memory: float = 0.5) -> Row:
    kind = "dip" if gamma == 1 else "dip-ca"
    at = {"selector": kind, "density": DENSITY, "gamma": gamma, "memory": memory}
    return {**at, "loss": loss, "missed": 0.5}


def added() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(F, D)).astype(np.float16) / 64


def calibrated(model: Path, out: Path, refitted: bool) -> Path:
    """Of a model; its matrices have a refit that costs less, or none."""
    folder, rng = Folder(out), np.random.default_rng(3)
    made_of = {"model_sha256": load_source(model).sha256}
    folder.begin(made_of)
    taken = {DENSITY: Taken(*(rng.random(n).astype(np.float32) for n in (D, F)))}
    none = np.zeros(F, np.float32)
    sizes = Sizes(*(abs(rng.normal(size=(4, n))).astype(np.float16) for n in (D, F)))
    folder.add(0, Layer("layers.0.ffn", "swiglu", none, none, None, taken=taken, sizes=sizes))
    facts: dict[str, Any] = {"made_of": made_of, "finished": True, "points": []}
    facts |= {"layers": [{"sha256": folder.digest(0)}], "dip": [row(0.009)]}
    if refitted:
        folder.add_refit(0, DENSITY, added())
        hashes = [folder.refit_digest(0, DENSITY)]
        facts["refits"] = [{"density": DENSITY, "sha256": hashes}]
        facts["refitted"] = [row(0.004)]
    folder.write(facts)
    return out


def compiled(model: Path, refitted: bool) -> Any:
    calibration = calibrated(model, model.parent / "c", refitted)
    return planned(model, sparsity="dip", memory="500K", calibration=calibration)


def test_the_plan_is_that_of_the_refitted_model(tmp_path: Path) -> None:
    """Byte for byte; ONNX Runtime agrees; it says so, and refuses a calibration that changed."""
    model = written(tmp_path, "swiglu")
    done = compiled(model, True)
    figures = done.figures
    assert figures["refit"] and figures["loss"] == pytest.approx(0.004)
    assert any("are refitted" in text for text in budget_lines(figures))
    assert load_plan(done.path).model["options"]["refit"] is True
    assert verify(done.path, on="host")["ok"]
    loaded = onnx.load(model)
    [weight] = [each for each in loaded.graph.initializer if each.name == "wd"]
    sums = numpy_helper.to_array(weight) + added().astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(sums, "wd"))
    (tmp_path / "other").mkdir()
    onnx.save(loaded, tmp_path / "other/model.onnx")
    same = compiled(tmp_path / "other/model.onnx", False)
    assert not same.figures["refit"]
    found = [sorted(path.glob("weights.*")) for path in (done.path, same.path)]
    assert found[0] and [f.name for f in found[0]] == [f.name for f in found[1]]
    for mine, theirs in zip(*found, strict=True):
        assert mine.read_bytes() == theirs.read_bytes()
    np.save(next((tmp_path / "c").glob("refit.*")), added() * 2)
    with pytest.raises(PocketError, match="was changed"):
        verify(done.path, on="host")


def test_only_what_costs_no_more_with_any_memory_is_refitted() -> None:
    rows = [row(0.02), row(0.03, 0.5, 0.25), row(0.03, 0.5, 0.75)]
    for better, wanted in ((0.03, True), (0.031, False)):
        refitted = [row(0.01), row(0.02, 0.5, 0.25), row(better, 0.5, 0.75)]
        found = measured({"dip": rows, "refitted": refitted}, "dip-ca")
        assert [(point.gamma, point.refit) for point in found] == [(0.5, wanted), (1.0, True)]
    worse = measured({"dip": rows, "refitted": [row(0.021)]}, "dip")
    assert [(point.refit, point.loss(0.5)) for point in worse] == [(False, 0.02)]
