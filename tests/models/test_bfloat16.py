"""Exports in bfloat16: read with the weights they have, stored in halves where these have room."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from any_decoder import CONTEXT, decoder
from exports import COLLECTION
from in_bfloat16 import in_bfloat16, rounded, with_rounded_weights
from needed import here
from onnx import numpy_helper
from pass_helpers import text

import toolkit
from toolkit.compiler.weights.halves import fits_halves
from toolkit.compiler.weights.table import WeightTable
from toolkit.evaluation.verify import verify

BF16 = ir.DataType.BFLOAT16
WIDE = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
EXPORTS = ("random/llama/optimum", "random/qwen2/dynamo", "more/decoders/gpt_bigcode/optimum")


def proto() -> onnx.ModelProto:
    return ir.to_proto(text(decoder("as it is")))


def compiled(folder: Path, model: onnx.ModelProto, device: str = "pocl", **options: str) -> Path:
    onnx.save(model, folder / "model.onnx")
    plan = folder / "x.plan"
    toolkit.compile(folder / "model.onnx", plan, device=device, max_context=CONTEXT, **options)
    return plan


@pytest.mark.parametrize("on", ["host", pytest.param("runner", marks=pytest.mark.slow)])
def test_answers_as_the_model_in_float32(tmp_path: Path, on: str) -> None:
    figures = verify(compiled(tmp_path, in_bfloat16(proto())), on=on)
    assert figures["ok"] and figures["greedy_match"], figures["cases"]
    assert figures["original_notes"] == [
        "is in bfloat16: it was run in float32, with the same weights"
    ]
    assert max(case["nmse"] for case in figures["original"]) < 1e-8


def test_weights_are_those_of_the_same_numbers_in_float32(tmp_path: Path) -> None:
    folders = tmp_path / "narrow", tmp_path / "wide"
    for folder in folders:
        folder.mkdir()
    narrow = compiled(folders[0], in_bfloat16(proto()))
    wide = compiled(folders[1], with_rounded_weights(proto()), weights="f16")
    one, other = (sorted(plan.glob("weights*")) for plan in (narrow, wide))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


@pytest.mark.slow
@pytest.mark.parametrize("device", ["pocl", "generic"])
@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_in_bfloat16(tmp_path: Path, name: str, device: str) -> None:
    model = in_bfloat16(onnx.load(here(COLLECTION / name / "model.onnx")))
    figures = verify(compiled(tmp_path, model, device), on="host")
    assert figures["ok"], figures["cases"]
    assert max(case["nmse"] for case in figures["original"]) < 1e-4


def test_what_halves_have_no_room_for_stays_float32(tmp_path: Path) -> None:
    model = proto()
    (down,) = (tensor for tensor in model.graph.initializer if tensor.name == "wd")
    array = numpy_helper.to_array(down).copy()
    array[3, 5] = 1e6
    down.CopyFrom(numpy_helper.from_array(array, "wd"))
    plan = compiled(tmp_path, in_bfloat16(model))
    weights = json.loads((plan / "plan.json").read_text())["weights"]
    stored = {weight["name"]: weight["dtype"] for weight in weights}
    assert stored["wd"] == "f32" and stored["wo"] == "f16"
    assert verify(plan, on="host")["ok"]


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (lambda w: w * 0.02, "f16"),
        (lambda w: w * 1e-4, "f32"),  # halves would round what bfloat16 has kept
        (lambda w: w * 0, "f32"),
        (lambda w: np.where(w > 2, 65536, w), "f32"),
        (lambda w: np.where(w > 2, np.nan, w), "f32"),  # to be refused when it is written
    ],
    ids=["usual", "small", "zeros", "large", "no numbers"],
)
def test_which_type_a_matrix_gets(change: Callable[[np.ndarray], np.ndarray], dtype: str) -> None:
    tensor = ir.tensor(change(WIDE).astype(BF16.numpy()))
    value = ir.val("w", BF16, WIDE.shape, const_value=tensor)
    assert WeightTable(None).stored(value).dtype == dtype


def test_halves_lose_next_to_nothing_of_what_fits() -> None:
    for scale in 2.0 ** np.arange(-12, 14):
        w = rounded(WIDE * scale)
        if fits_halves(ir.tensor(w.astype(BF16.numpy()))):
            lost = np.square(w - w.astype(np.float16).astype(np.float32)).sum()
            assert lost <= 1e-9 * np.square(w).sum(), scale
