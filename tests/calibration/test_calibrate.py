"""A calibration: layer by layer, ended and gone on with, its losses against ONNX Runtime."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exports import DEMO
from relu_demo import relu_demo, some_text

from onnx_passes.analysis.ffn import find_ffns
from toolkit.calibration.calibrate import calibrate
from toolkit.calibration.walk import Walk, Window
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import rewrite_with
from toolkit.compiler.source import load_source
from toolkit.devices.resolve import resolve_device
from toolkit.errors import PocketError
from toolkit.predictors.folder import Folder
from toolkit.predictors.layer import Layer

LAYERS = 5


class Case:
    """A model, a text, and its calibration."""

    def __init__(self, folder: Path) -> None:
        self.source = load_source(relu_demo(folder / "relu"))
        self.text, self.out = some_text(folder / "text.txt"), folder / "relu.calibration"
        self.facts = self.run(self.out)

    def run(self, out: Path, tell: Callable[[str], None] | None = None) -> dict[str, Any]:
        return calibrate(self.source, self.text, out, 400, tell)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("calibrate"))


def losses_of(reference: Reference, ids: list[int]) -> float:
    reference.reset()
    rows = reference.score(ids).astype(np.float64)[:-1]
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return float(-rows[np.arange(len(rows)), ids[1:]].mean())


def test_it_says_what_each_layer_needs(case: Case) -> None:
    layers, points = case.facts["layers"], case.facts["points"]
    assert [each["kind"] for each in layers] == ["reglu"] * LAYERS
    for number, each in enumerate(layers):
        layer = Folder(case.out).layer(number)
        assert each["active"] == pytest.approx(layer.frequency.mean(), abs=1e-4)
        assert each["false_negatives"] <= 0.05 and each["predicted_over_true"] >= 0.95
        assert len(layer.frequency) == len(layer.importance) == each["neurons"] == 384
        assert (layer.importance[layer.frequency > 0] > 0).all()
    assert [each["recall"] for each in points] == [0.9, 0.95, 0.98, 0.995]
    densities = [each["density"] for each in points]
    assert densities == sorted(densities) and densities[0] > 0 and densities[-1] < 1
    assert Folder(case.out).finished() == {"format": 1, **case.facts}


def test_its_perplexity_is_that_of_the_model(case: Case) -> None:
    reference, made_of = Reference.original(case.source), case.facts["made_of"]
    from toolkit.compiler.calibration.ids import calibration_ids

    ids, size = calibration_ids(case.source, case.text, 1024, 400)[0], made_of["window"]
    windows = [ids[at : at + size] for at in range(0, len(ids) - size + 1, size)]
    held = [w for n, w in enumerate(windows) if n % min(10, len(windows)) == len(windows) - 1]
    assert made_of["windows"] == len(windows) and len(held) == 1
    assert case.facts["perplexity"] == pytest.approx(
        np.exp(losses_of(reference, held[0])), rel=1e-3
    )


def walked(case: Case, change: Callable[[Layer], Layer]) -> float:
    """The loss of a window whose neurons are computed as changed layers say."""
    options = choose(case.source, resolve_device(None, None), weights="f32")
    model = rewrite_with(case.source, options)
    ffns = find_ffns(model)[0]
    walk = Walk(model, ffns, [Window(list(range(3, 60)), True, 0.9)])
    for level in range(len(ffns)):
        layer = change(Folder(case.out).layer(level))
        walk.leave(level, walk.reach(level), layer.predicted)
    [(window, losses)] = walk.losses()
    assert window.density in (0.0, 1.0)
    return float(losses.mean())


@pytest.mark.parametrize("threshold", [-np.inf, np.inf])
def test_neurons_that_are_not_predicted_add_nothing(
    case: Case, threshold: float, tmp_path: Path
) -> None:
    def changed(layer: Layer) -> Layer:
        assert layer.predicted is not None
        pointed = replace(layer.predicted, thresholds={0.9: threshold})
        return replace(layer, predicted=pointed)

    model = onnx.load(case.source.onnx_path)
    if threshold > 0:  # without any: the last products are zero
        downs = [n for n in model.graph.node if "down_proj" in n.name and n.op_type == "MatMul"]
        names = {n.input[1] for n in downs}
        assert len(names) == LAYERS
        for tensor in model.graph.initializer:
            if tensor.name in names:
                zeros = np.zeros(tuple(tensor.dims), np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))
    onnx.save(model, tmp_path / "model.onnx")
    reference = Reference.original(load_source(tmp_path / "model.onnx"))
    wanted = losses_of(reference, list(range(3, 60)))
    assert walked(case, changed) == pytest.approx(wanted, abs=1e-4)


def test_an_ended_run_goes_on(case: Case, tmp_path: Path) -> None:
    def ends(status: str) -> None:
        if status.startswith("layer 3"):
            raise KeyboardInterrupt

    out = tmp_path / "ended"
    with pytest.raises(KeyboardInterrupt):
        case.run(out, ends)
    with pytest.raises(PocketError, match="not finished"):
        Folder(out).finished()
    files = sorted(out.glob("layer.*.npz"))
    before = [file.stat().st_mtime_ns for file in files]
    again = case.run(out)
    assert len(files) == 2 and [file.stat().st_mtime_ns for file in files] == before
    assert {**again, "seconds": 0} == {**case.facts, "seconds": 0}


def test_a_full_disk_is_told_with_the_file(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder, layer = Folder(tmp_path / "c"), Folder(case.out).layer(0)
    folder.begin({})
    monkeypatch.setattr(os, "fsync", full)
    for write in (lambda: folder.add(0, layer), lambda: folder.write({})):
        with pytest.raises(PocketError, match=r"c/.* can't be written: No space") as caught:
            write()
        assert "it goes on" in caught.value.hint
    assert [file.name for file in folder.path.iterdir()] == ["calibration.json"]


def test_another_text_begins_anew(case: Case, tmp_path: Path) -> None:
    folder = Folder(case.out)
    assert folder.begin(case.facts["made_of"]) == LAYERS
    assert folder.begin({**case.facts["made_of"], "text_sha256": "other"}) == 0
    assert not list(case.out.glob("layer.*.npz"))
    case.run(case.out)  # for the tests after this one


def test_what_is_no_calibration_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(PocketError, match="exists"):
        Folder(tmp_path).begin({})
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]


def test_a_damaged_layer_is_named(case: Case, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "c")
    folder.begin({})
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for content in (b"", b"PK\x03\x04 no archive", b"\x93NUMPY", array.getvalue()):
        (folder.path / "layer.000.npz").write_bytes(content)
        with pytest.raises(PocketError, match=r"layer\.000\.npz is damaged"):
            folder.layer(0)
        assert folder.begin({}) == 0  # it is made again, not gone on from


def test_losses_are_those_of_just_these_layers(case: Case, tmp_path: Path) -> None:
    folder = Folder(shutil.copytree(case.out, tmp_path / "c"))
    assert folder.identity() == Folder(case.out).identity()
    shutil.copy(folder.path / "layer.001.npz", folder.path / "layer.000.npz")
    with pytest.raises(PocketError, match=r"layer\.000\.npz was changed"):
        folder.identity()
    assert folder.begin(case.facts["made_of"]) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"made_of": "relu"},
        {"points": [{"recall": 0.9, "density": 0.5, "loss": "little"}]},
        {"points": 3},
        {"layers": [{}]},
        {"layers": None},
    ],
)
def test_a_damaged_calibration_is_named(case: Case, tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "calibration.json").write_text(json.dumps({"format": 1, **case.facts, **change}))
    with pytest.raises(PocketError, match=r"calibration\.json is damaged"):
        Folder(tmp_path).finished()


def test_what_is_too_little_is_named(case: Case, tmp_path: Path) -> None:
    with pytest.raises(PocketError, match="--tokens 5 is too little"):
        calibrate(case.source, case.text, tmp_path / "c", 5)
    mute = relu_demo(tmp_path / "mute")
    (mute / "tokenizer.json").unlink()
    with pytest.raises(PocketError, match="tokenizer") as caught:
        calibrate(load_source(mute), case.text, tmp_path / "c")
    assert "--calibrate" not in caught.value.hint  # which is no option of this command


@pytest.mark.slow
def test_a_model_whose_neurons_are_never_zero_has_no_points(tmp_path: Path) -> None:
    text = some_text(tmp_path / "text.txt", 40)
    facts = calibrate(load_source(DEMO), text, tmp_path / "c", 40)
    assert facts["points"] == [] and {e["kind"] for e in facts["layers"]} == {"swiglu"}
    assert all("rank" not in each for each in facts["layers"])
    assert Folder(tmp_path / "c").layer(0).predicted is None
    assert json.loads((tmp_path / "c/calibration.json").read_text())["finished"]


def test_a_text_of_a_few_tokens_is_too_short(case: Case, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("Hi")
    with pytest.raises(PocketError, match="too short"):
        calibrate(case.source, text, tmp_path / "c")
    assert not (tmp_path / "c").exists()
