"""Merged decoders compile where their branch for a cached text serves a whole prompt."""

from pathlib import Path

import onnx_ir as ir
import pytest
from any_decoder import CONTEXT
from embedded_decoder import embedded_text, front
from merged_decoder import CAUSAL, merged

import toolkit
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.verify import verify

ONE = "one = Constant<value_ints = [1, 1, 32]>()"


@pytest.mark.parametrize("on", ["host", pytest.param("runner", marks=pytest.mark.slow)])
def test_answers_as_onnx_runtime(tmp_path: Path, on: str) -> None:
    """Which runs the other branch for what begins."""
    ir.save(merged(), tmp_path / "decoder_model_merged.onnx")
    report = toolkit.compile(tmp_path, tmp_path / "x.plan", device="pocl", max_context=CONTEXT)
    figures = verify(report.path, on=on)
    assert figures["ok"] and figures["greedy_match"]
    assert max(case["nmse"] for case in figures["original"]) < 1e-8


def test_is_taken_before_its_parts(tmp_path: Path) -> None:
    for name in ("decoder_model", "decoder_model_merged", "decoder_with_past_model"):
        ir.save(merged(), tmp_path / f"{name}.onnx")
    assert load_source(tmp_path).onnx_path.name == "decoder_model_merged.onnx"


def test_with_an_embedding_beside_it(tmp_path: Path) -> None:
    ir.save(merged(source=embedded_text()), tmp_path / "decoder_model_merged.onnx")
    ir.save(front("looked up"), tmp_path / "embed_tokens.onnx")
    report = toolkit.compile(tmp_path, tmp_path / "x.plan", device="pocl", max_context=CONTEXT)
    figures = verify(report.path, on="host")
    assert figures["ok"] and figures["greedy_match"]
    assert max(case["nmse"] for case in figures["original"]) < 1e-8


@pytest.mark.parametrize(
    "cached, because",
    [
        ((CAUSAL, "seen = Identity(real)"), "a text in two pieces gives other logits"),
        (("h1 = Add(h, o)", f"{ONE}  oo = Reshape(o, one)  h1 = Add(h, oo)"), "Reshape"),
    ],
)
def test_a_branch_for_single_tokens_is_refused(
    tmp_path: Path, cached: tuple[str, str], because: str
) -> None:
    ir.save(merged(cached), tmp_path / "model.onnx")
    with pytest.raises(PocketError) as caught:
        toolkit.compile(tmp_path, tmp_path / "x.plan", device="pocl", max_context=CONTEXT)
    assert "takes one token at a time" in caught.value.what
    assert because in caught.value.because
    assert not (tmp_path / "x.plan").exists()
