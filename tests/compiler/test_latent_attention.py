"""Decoders with queries, keys and values of low rank: launches, and answers of ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changed_decoder import Changes, check, compiled, decode_kernels

from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.report import CompileReport
from toolkit.compiler.source import load_source
from toolkit.evaluation.verify import verify
from toolkit.executors.batch.open import open_batch

CONSTANTS = """, float[32, 13] wql, float[13] gql, float[13, 32] wqu, float[32, 27] wkl,
 int64[2] parts = {11, 16}, float[11] gkl, float[11, 16] wku, float[11, 16] wvu"""
QUERIES = "ql = MatMul(x, wql)  qm = RMSNormalization(ql, gql)  q0 = MatMul(qm, wqu)"
KEYS = """kl = MatMul(x, wkl)  lat, rest = Split<axis = -1>(kl, parts)
  km = RMSNormalization(lat, gkl)  ku = MatMul(km, wku)  k00 = Add(ku, rest)"""
LATENT: Changes = (
    ("q0 = MatMul(x, wq)", QUERIES),
    ("k00 = MatMul(x, wk)", KEYS),
    ("w0 = MatMul(x, wv)", "w0 = MatMul(km, wvu)"),
)
DIRECT = LATENT[1:]


def made(folder: Path, *changes: tuple[str, str], **options: Any) -> CompileReport:
    return compiled(folder, *changes, constants=CONSTANTS, opset="23", **options)


@pytest.mark.parametrize(
    ("changes", "products", "device"),
    [
        pytest.param(LATENT, 3, "pocl", id="all"),
        pytest.param(LATENT, 3, "generic", id="all-generic", marks=pytest.mark.slow),
        pytest.param(DIRECT, 3, "pocl", id="keys", marks=pytest.mark.slow),
    ],
)
def test_a_layer(changes: Changes, products: int, device: str, tmp_path: Path) -> None:
    """One product makes all that is of low rank; two that read rows of their own share a launch.

    One launch rotates, and writes to the states.
    """
    done = made(tmp_path, *changes, device=device, activations="f32", kv="f32")
    check(done)
    found = decode_kernels(done)
    kernels = [kernel.partition("_")[0] for kernel, _ in found]
    layer = [kernel for kernel in kernels if kernel != "sample"]
    assert layer == [*["gemv"] * products, "maps", "attention", *["gemv"] * 4]
    sizes = [each for _, case in found for each in case.get("products", [case])]
    parts = [(each["X0"], each["LDX"]) for each in sizes if "X0" in each]
    decode = next(phase for phase in done.plan.phases if phase.name == "decode")
    assert (decode.cooperative is not None) == (device == "pocl")  # one launch where that can be
    width = 13 if changes is LATENT else 32
    assert parts == [(width, width + 11)] * 2


@pytest.mark.slow
def test_codes(tmp_path: Path) -> None:
    report = verify(made(tmp_path, *LATENT, weights="e0m4").path, on="host")
    assert report["ok"], report


@pytest.mark.slow
def test_a_batch(tmp_path: Path) -> None:
    """Several rows, whose parts of low rank lie a whole row apart."""
    done = made(tmp_path, *LATENT, batch=3)
    texts = np.random.default_rng(3).integers(0, 40, (3, 6))
    executor = open_batch(done.path, "host")
    executor.begin([0, 0, 0])
    executor.prefill(texts[:, :5], 0)
    executor.step(texts[:, 5], 5)
    found = executor.logits()
    executor.close()
    source = load_source(tmp_path / "model.onnx")
    for text, ours in zip(texts.tolist(), found, strict=True):
        wanted = Reference.original(source).score(text)[-1]
        assert np.mean((ours - wanted) ** 2) < 1e-9 * np.mean(wanted**2)
