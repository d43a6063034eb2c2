"""Last matrices that are fitted to what DIP leaves: kept where held-out text costs less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flash_networks import written

from onnx_passes.analysis.ffn import find_ffns
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.case import Case
from toolkit.calibration.sparse.dip import Dip
from toolkit.calibration.sparse.judge import Fitted, judge, windows_of
from toolkit.calibration.sparse.recovery import Recovery
from toolkit.calibration.sparse.refit import ridge, ridge_by_tokens
from toolkit.calibration.walk import Walk, Window
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import rewrite_with
from toolkit.compiler.source import load_source
from toolkit.devices.resolve import resolve_device
from toolkit.predictors.folder import Folder
from toolkit.predictors.layer import Layer

DENSITY, F = 0.5, 700
IDS = np.random.default_rng(5).integers(0, 40, (6, 30)).tolist()


def test_fewer_tokens_than_units_give_the_same_fit() -> None:
    rng = np.random.default_rng(2)
    h, y = rng.normal(size=(7, 65)) * (rng.random((7, 65)) < 0.5), rng.normal(size=(7, 3))
    wanted = ridge(h.T @ h, h.T @ y)
    np.testing.assert_allclose(ridge_by_tokens(h, y), wanted, rtol=1e-5, atol=1e-6)
    assert not wanted[~h.any(axis=0)].any()


def test_what_costs_less_is_kept(tmp_path: Path) -> None:
    """As the simulator has it, of one density; another one that costs more leaves no files."""
    source = load_source(written(tmp_path, "swiglu"))
    model = rewrite_with(source, choose(source, resolve_device(None, None), weights="f32"))
    ffns, _ = find_ffns(model)
    fitted, judged = IDS[:4], IDS[4:]
    whole = [Window(ids, held_out=True) for ids in judged]
    walk, folder = Walk(model, ffns, whole), Folder(tmp_path / "c")
    folder.begin({})
    neurons = walk.reach(0)
    taken = {d: Dip(neurons, _first(walk), d).taken for d in (DENSITY, 0.9)}
    none = np.zeros(F, np.float32)
    folder.add(0, Layer("layers.0.ffn", "swiglu", none, none, None, taken=taken))
    walk.leave(0, neurons, None)
    dense = [(window.ids, nats) for window, nats in walk.losses()]
    plain = [{"density": d, "gamma": 1.0, "loss": loss} for d, loss in ((DENSITY, 9), (0.9, -9))]
    recovery = Recovery(model, ffns, folder, plain, fitted, dense, lambda _: None)
    rows = recovery.measure()
    assert {row["density"] for row in rows} == {DENSITY} and len(rows) == 10
    assert [each["density"] for each in recovery.refits(rows)] == [DENSITY]
    assert len([*folder.path.glob("refit.*")]) == 1
    cases = [Case("all"), Case("dip", DENSITY, memory=0.5, refit=True)]
    windows, found = windows_of(fitted, judged, cases)
    judge(model, ffns, windows, Fitted())
    nats = [np.concatenate([w.nats for w in each if w.nats is not None]).mean() for each in found]
    cost = float(np.expm1(nats[1] - nats[0]))
    assert rows[0]["loss"] == pytest.approx(max(cost, rows[0]["whole_loss"]), abs=2e-4)
    assert all(row["loss"] >= row["whole_loss"] for row in rows)
    added = folder.refit(0, DENSITY)
    refitted = replace(neurons, down=neurons.down + added)
    assert added.shape == neurons.down.shape and not _same(refitted, neurons)


def _first(walk: Walk) -> np.ndarray:
    return next(walk.inputs(0))[1]


def _same(one: Neurons, other: Neurons) -> bool:
    return np.array_equal(one.down, other.down)
