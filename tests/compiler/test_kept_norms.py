"""Norms that a product begins with and stores, since others than products read them, too."""

from pathlib import Path
from typing import Any

import pytest
from changed_decoder import DOWN, Changes, check, compiled, decode_kernels

from toolkit.compiler import pipeline
from toolkit.compiler.report import CompileReport
from toolkit.compiler.weights.table import WeightTable
from toolkit.evaluation.verify import verify

CONSTANTS = ", float[32] behind1, float[32] behind2, float[32, 48] wide"
PRODUCT_FIRST: Changes = (
    (
        "up = MatMul(y, wu)",
        "score = MatMul(y, wide)  best, place = TopK(score, v1)  bent = Tanh(y)"
        "  scaled = Mul(bent, best)  up = MatMul(scaled, wide)",
    ),
)
OTHER_FIRST: Changes = (
    (
        "up = MatMul(y, wu)",
        "bent = Tanh(y)  bent_up = MatMul(bent, wide)  best, place = TopK(bent_up, v1)"
        "  score = MatMul(y, wu)  up = Mul(score, best)",
    ),
)
BEHIND: Changes = (
    ("o = MatMul(o2, wo)", "oo = MatMul(o2, wo) o = RMSNormalization(oo, behind1)"),
    (DOWN, "d0 = MatMul(mix, wd) down = RMSNormalization(d0, behind2)"),
)


def made(folder: Path, *changes: tuple[str, str], **options: Any) -> CompileReport:
    return compiled(folder, *changes, constants=CONSTANTS, opset="23", **options)


def counts(done: CompileReport) -> tuple[int, int, int]:
    """A token's products that keep a norm, those of them that make the sum, norms by themselves."""
    kernels = decode_kernels(done)
    kept = [case for _, case in kernels if case.get("keeps_norm")]
    alone = sum("rmsnorm" in kernel for kernel, _ in kernels)
    return len(kept), sum("sum_eps" in case for case in kept), alone


@pytest.mark.parametrize("device", ["pocl", pytest.param("generic", marks=pytest.mark.slow)])
@pytest.mark.parametrize("behind", [(), BEHIND], ids=["of the stream", "of a sum that waits"])
def test_the_first_product_stores_it(behind: Changes, device: str, tmp_path: Path) -> None:
    options = {"device": device, "activations": "f32", "kv": "f32"}
    done = made(tmp_path, *PRODUCT_FIRST, *behind, **options)
    check(done)
    assert counts(done) == (1, int(bool(behind)), 0)


def test_who_reads_it_before_every_product_has_it_computed(tmp_path: Path) -> None:
    done = made(tmp_path, *OTHER_FIRST)
    check(done)
    assert counts(done) == (0, 0, 1)


@pytest.mark.parametrize("weights", ["e0m4", pytest.param("f16", marks=pytest.mark.slow)])
def test_halves_between_kernels(weights: str, tmp_path: Path) -> None:
    done = made(tmp_path, *PRODUCT_FIRST, activations="f16", weights=weights)
    assert counts(done) == (1, 0, 0) and verify(done.path, on="host")["ok"]


@pytest.mark.slow
@pytest.mark.parametrize("behind", [(), BEHIND], ids=["of the stream", "of a sum that waits"])
def test_slices_of_a_matrix_share_it(
    behind: Changes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dispatch of the first slice stores it, the others read it."""

    def small(storage: str | None, *_: object) -> WeightTable:
        return WeightTable(storage, shard_bytes=4096)

    monkeypatch.setattr(pipeline, "WeightTable", small)
    done = made(tmp_path, *PRODUCT_FIRST, *behind)
    check(done)
    assert counts(done) == (1, int(bool(behind)), 0)
