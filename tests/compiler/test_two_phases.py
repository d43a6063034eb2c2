"""Compiled plans that read gates of predicted neurons first: when, and what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_networks import GATED, KINDS, RELU, F, made

from onnx_passes.ir.facts import Mask
from onnx_passes.weights import e0m4
from toolkit.compiler import pipeline
from toolkit.compiler.budget import fit
from toolkit.compiler.rewriting import passes
from toolkit.compiler.weights.records import RecordTables, tables_of
from toolkit.evaluation.verify import verify
from toolkit.executors.open import open_executor
from toolkit.offload.flash_model import Flash, flash
from toolkit.offload.prediction.two_phases import in_two
from toolkit.plan.load import load_plan

WIDTH = 1152  # of whose neurons gates take a page, and the rest another one
CHANGES = (
    ("float[40, 32] table", f"float[40, {WIDTH}] table"),
    *((f"float[32] {name}", f"float[{WIDTH}] {name}") for name in ("g1", "g2", "g3")),
    ("float[32, 32] wq", f"float[{WIDTH}, 32] wq"),
    *((f"float[32, 16] {name}", f"float[{WIDTH}, 16] {name}") for name in ("wk", "wv")),
    ("float[32, 32] wo", f"float[32, {WIDTH}] wo"),
    *((f"float[32, {F}] {name}", f"float[{WIDTH}, {F}] {name}") for name in ("wg", "wu")),
    (f"float[{F}, 32] wd", f"float[{F}, {WIDTH}] wd"),
    (GATED, RELU),
)
FAST_AT_4K = Flash("x", table={"random": ((4096, 1e9), (8192, 0.9e9), (65536, 1.2e9))})


@pytest.mark.parametrize(
    "of, nonzero, expected",
    [
        (flash("ufs40"), 0.27, True),  # of 4 and 8 KB the share at which it pays is .28
        (flash("ufs40"), 0.5, False),
        (FAST_AT_4K, 0.9, True),
        (FAST_AT_4K, 1.0, True),
        (flash("a18"), 0.999, True),  # what a request takes is nothing
    ],
)
def test_it_is_done_where_it_is_faster(of: Flash, nonzero: float, expected: bool) -> None:
    assert in_two(of, 2304, 6912, nonzero) is expected
    assert not in_two(of, 2304, 4096, 0.0)  # one page has all of it


def mask() -> Mask:
    rng = np.random.default_rng(5)
    A = e0m4.quantize(rng.standard_normal((16, WIDTH)).astype(np.float32), 32)
    B = e0m4.quantize(rng.standard_normal((F, 16)).astype(np.float32), 16)
    return Mask(A, B, rng.standard_normal(F).astype(np.float32), 0.25)


def with_first(*told: Any) -> RecordTables:
    return tables_of(*told).with_first({0})


@pytest.mark.parametrize("on", ["host", pytest.param("runner", marks=pytest.mark.slow)])
def test_a_compiled_plan_leaves_zero_gates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    monkeypatch.setitem(KINDS, "two phases", (CHANGES, ""))
    monkeypatch.setattr(passes, "masks_of", lambda *_: ())  # of the plan in memory none
    monkeypatch.setattr(pipeline, "masks_of", lambda *_: (mask(),))
    monkeypatch.setattr(fit, "tables_of", with_first)
    done = made(tmp_path, "two phases", memory="90%")
    plan = load_plan(done.path)
    decode = plan.phase("decode")
    assert decode is not None
    (gather,) = (each for each in decode.gathers() if each.select.by == "above")
    assert gather.first is not None and gather.first.parts == ("gate",)
    executor = open_executor(done.path, on)
    first = executor.prefill([3, 1, 4], 0)
    list(executor.decode(first, 3, 12, ()))
    told = executor.stats()["tables"]
    executor.close()
    assert told["left"] > 20 and told["spared_bytes"] == 4096 * told["left"]
    monkeypatch.setattr(passes, "masks_of", lambda *_: (mask(),))
    report = verify(done.path, on=on)
    assert report["ok"], report
