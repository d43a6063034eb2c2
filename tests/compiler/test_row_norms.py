"""Norms of what is added to a residual stream: who computes them, and answers of ONNX Runtime."""

from pathlib import Path
from typing import Any

import pytest
from changed_decoder import DOWN, Changes, check, compiled, decode_kernels

from toolkit.compiler import pipeline
from toolkit.compiler.report import CompileReport
from toolkit.compiler.weights.table import WeightTable
from toolkit.evaluation.verify import verify

CONSTANTS = ", float[32] behind1, float[32] behind2, float[32, 32] square, float[32, 48] wide"
CONSTANTS += ", float[32] of_q, float[16] of_k, float[8] part, int64[4] parts = {0, 0, -1, 8}"
ATTENDED = "o = MatMul(o2, wo)"
BEHIND: Changes = (
    (ATTENDED, "oo = MatMul(o2, wo) o = RMSNormalization(oo, behind1)"),
    (DOWN, "d0 = MatMul(mix, wd) down = RMSNormalization(d0, behind2)"),
)
NOT_BEFORE: Changes = (
    ("x = Mul(g1, n1)", "x = Identity(h)"),
    ("y = Mul(g2, n2)", "y = Identity(h1)"),
)
OF_ALL_HEADS: Changes = (
    ("q0 = MatMul(x, wq)", "q00 = MatMul(x, wq) q0 = RMSNormalization(q00, of_q)"),
    ("k0 = Add(k00, bk)", "k01 = Add(k00, bk) k0 = RMSNormalization(k01, of_k)"),
)
UP = "up = MatMul(y, wu)"
READERS: dict[str, Changes] = {
    "two products": ((UP, "more = MatMul(h1, wide) u0 = MatMul(y, wu) up = Add(u0, more)"),),
    "a product of another row": ((UP, "up = MatMul(o2, wide)"),),
    "a product that adds it": ((DOWN, "e0 = MatMul(h1, square) e = Add(e0, h1) d = MatMul(mix, wd)"
                                " d0 = Add(d, e) down = RMSNormalization(d0, behind2)"),),
    "an expression": ((UP, "bent = Tanh(h1) up = MatMul(bent, wide)"),),
    "a norm of its own": ((UP, "other = RMSNormalization(h1, behind2) up = MatMul(other, wide)"),),
}  # fmt: skip


def made(folder: Path, *changes: tuple[str, str], **options: Any) -> CompileReport:
    return compiled(folder, *changes, constants=CONSTANTS, opset="23", **options)


def begun(done: CompileReport) -> list[str]:
    """Kernels of a token's dispatches; those that begin with a sum are marked."""
    return [kernel + "+" * ("sum_eps" in case) for kernel, case in decode_kernels(done)]


@pytest.mark.parametrize("changes", [BEHIND, (*BEHIND, *NOT_BEFORE)], ids=["too", "only"])
def test_products_begin_with_the_sum(changes: Changes, tmp_path: Path) -> None:
    done = made(tmp_path, *changes)
    check(done)
    attention = ["gemv_cpu", "rope_kv", "attention_decode_cpu", "gemv_cpu"]
    assert begun(done) == [*attention, "gemv_cpu+", "gemv_cpu", "gemv_cpu+", "sample_cpu"]


@pytest.mark.parametrize("device", ["pocl", pytest.param("generic", marks=pytest.mark.slow)])
def test_a_layer_of_post_norms_and_norms_of_all_heads(device: str, tmp_path: Path) -> None:
    done = made(
        *(tmp_path, *BEHIND, *NOT_BEFORE, *OF_ALL_HEADS),
        **{"device": device, "activations": "f32", "kv": "f32"},
    )
    check(done)
    norms = [case.get("norm") for kernel, case in decode_kernels(done) if kernel == "rope_kv"]
    layer = [kernel for kernel in begun(done) if not kernel.startswith("sample")]
    assert norms == ["rms_whole"] and len(layer) == 7  # six, and the logits


@pytest.mark.parametrize("device", [pytest.param("pocl", marks=pytest.mark.slow), "generic"])
@pytest.mark.parametrize(
    "name",
    [
        name if name.startswith("a ") else pytest.param(name, marks=pytest.mark.slow)
        for name in READERS
    ],
)
def test_whoever_reads_the_sum(name: str, device: str, tmp_path: Path) -> None:
    behind = BEHIND[:1] if name == "a product that adds it" else BEHIND
    check(made(tmp_path, *READERS[name], *behind, device=device, activations="f32", kv="f32"))


PARTLY = """oo = MatMul(o2, wo)  o3 = Reshape(oo, parts)  o4 = RMSNormalization(o3, part)
 o = Reshape(o4, flat)"""


@pytest.mark.parametrize("changes", [(), NOT_BEFORE[1:]], ids=["too", "only"])
@pytest.mark.slow
def test_norms_of_parts_of_a_row_are_no_beginning(changes: Changes, tmp_path: Path) -> None:
    done = made(tmp_path, (ATTENDED, PARTLY), *changes)
    check(done)
    assert not any(kernel.endswith("+") for kernel in begun(done))


@pytest.mark.slow
def test_halves_between_kernels(tmp_path: Path) -> None:
    report = verify(made(tmp_path, *BEHIND, activations="f16").path, on="host")
    assert report["ok"], report
    assert all(case["nmse"] < 1e-4 for case in report["original"])


@pytest.mark.slow
def test_slices_of_a_matrix_share_the_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dispatch of the first slice makes it, the others read it."""

    def small(storage: str | None, *_: object) -> WeightTable:
        return WeightTable(storage, shard_bytes=4096)

    monkeypatch.setattr(pipeline, "WeightTable", small)
    done = made(tmp_path, *BEHIND)
    check(done)
    assert begun(done).count("gemv_cpu+") == 2 and len(begun(done)) > 8
