"""Decode attention in splits: where it is chosen, and that a model answers the same with it."""

import sys
from pathlib import Path
from typing import Any

import pytest
from exports import DEMO

import toolkit
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import symbols_of_texts
from opencl_kernels.device_class import CPU, GENERIC
from toolkit.compiler.lowering.dispatches import split_count
from toolkit.compiler.lowering.variants import Settings
from toolkit.evaluation.verify import verify


@pytest.mark.parametrize(
    ("units", "batch", "heads", "keys", "window", "expected"),
    [
        (8, 1, 4, 8192, 0, 4),  # two work-groups for each compute unit
        (8, 1, 3, 8192, 0, 6),
        (8, 1, 8, 8192, 0, 0),  # the heads fill the device
        (8, 2, 4, 8192, 0, 0),  # with the batch they do
        (8, 1, 4, 1023, 0, 0),  # not worth a second launch
        (64, 1, 4, 1024, 0, 4),  # splits of 256 keys or more
        (8, 1, 4, 8192, 512, 0),  # no token sees more than its window
        (2, 1, 1, 4096, 0, 4),
    ],
)
def test_splits_fill_the_device(
    units: int, batch: int, heads: int, keys: int, window: int, expected: int
) -> None:
    case = Heads(M=1, H=heads, G=heads, K=64, C=keys, WINDOW=window)
    settings = Settings(CPU, symbols_of_texts(batch), batch, keys, "f32", "f32", units, 32768)
    assert split_count(settings, case) == expected


@pytest.mark.parametrize(
    ("units", "heads", "keys", "expected"),
    [
        (6, 8, 2048, 6),  # eight work-groups for each compute unit
        (6, 8, 1024, 4),  # of 256 keys or more
        (6, 24, 2048, 0),  # with four they have enough to do
        (6, 1, 4096, 16),
    ],
)
def test_splits_fill_a_gpu(units: int, heads: int, keys: int, expected: int) -> None:
    case = Heads(M=1, H=heads, G=heads, K=64, C=keys)
    settings = Settings(GENERIC, symbols_of_texts(1), 1, keys, "f16", "f16", units, 32768)
    assert split_count(settings, case) == expected


@pytest.mark.parametrize("device_class", ["cpu", pytest.param("generic", marks=pytest.mark.slow)])
@pytest.mark.parametrize("on", ["host", pytest.param("runner", marks=pytest.mark.slow)])
def test_a_model_with_splits_answers_the_same(
    on: str, device_class: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowering: Any = sys.modules["toolkit.compiler.lowering.dispatches"]
    monkeypatch.setattr(lowering, "LONG", 16)
    monkeypatch.setattr(lowering, "SPLIT_KEYS", 4)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pocketcl").mkdir()
    profile = f"devices: {{many: {{class: {device_class}, compute_units: 24, align: 128}}}}\n"
    (tmp_path / "pocketcl/devices.yaml").write_text(profile)

    report = toolkit.compile(DEMO, tmp_path / "x.plan", device="many", activations="f32", kv="f32")

    decode = report.plan.phase("decode")
    assert decode is not None
    layers = int(report.plan.model["layers"])
    assert sum(step.name.endswith(" splits") for step in decode.dispatches()) == layers
    assert len(decode.dispatches()) <= 9 * layers + 4
    figures = verify(report.path, on=on)
    assert figures["ok"], figures
