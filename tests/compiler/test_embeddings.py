"""Decoders that take embeddings find the file beside them that looks these up."""

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from any_decoder import CONTEXT
from embedded_decoder import embedded, front
from pass_helpers import text
from tiny_decoder import decoder_text

import toolkit
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.verify import verify


def written(folder: Path, **models: ir.Model) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        ir.save(model, folder / f"{name}.onnx")
    return folder


@pytest.mark.parametrize("on", ["host", pytest.param("runner", marks=pytest.mark.slow)])
def test_text_goes_through_both(tmp_path: Path, on: str) -> None:
    """As transformers.js' folders are: a vision encoder, and several precisions, too."""
    parts = {"decoder_model_merged": embedded(), "embed_tokens": front("looked up")}
    written(tmp_path / "onnx", **parts, vision_encoder=text(decoder_text()))
    (tmp_path / "config.json").write_text("{}")
    report = toolkit.compile(tmp_path, tmp_path / "x.plan", device="pocl", max_context=CONTEXT)
    assert report.figures["embedding"] == str(tmp_path / "onnx/embed_tokens.onnx")
    figures = verify(report.path, on=on)
    assert figures["ok"] and figures["greedy_match"]
    assert max(case["nmse"] for case in figures["original"]) < 1e-8
    assert "as one graph with embed_tokens.onnx" in figures["original_notes"][0]


def chosen(path: Path) -> str | None:
    found = load_source(path).embedding
    return None if found is None else found.name


def test_of_several_the_one_of_the_same_precision(tmp_path: Path) -> None:
    written(tmp_path, decoder_model_merged=embedded(), decoder_model_merged_q4=embedded())
    written(tmp_path, embed_tokens=front("looked up"), embed_tokens_q4=front("looked up"))
    written(tmp_path, embed_tokens_fp16=front("half precision"))
    assert chosen(tmp_path) == "embed_tokens.onnx"
    assert chosen(tmp_path / "decoder_model_merged_q4.onnx") == "embed_tokens_q4.onnx"


def test_the_decoder_is_what_sees_and_looks_up_nothing(tmp_path: Path) -> None:
    parts = {"embed_tokens_q4": front("looked up"), "vision_encoder_q4": text(decoder_text())}
    written(tmp_path, decoder_model_merged_q4=embedded(), **parts)
    assert load_source(tmp_path).onnx_path.name == "decoder_model_merged_q4.onnx"
    assert chosen(tmp_path) == "embed_tokens_q4.onnx"


def test_the_one_that_genai_names(tmp_path: Path) -> None:
    written(tmp_path, text=embedded(), first=front("looked up"), embed_other=front("looked up"))
    names = {"decoder": {"filename": "text.onnx"}, "embedding": {"filename": "first.onnx"}}
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": names}))
    assert chosen(tmp_path) == "first.onnx"


def test_what_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path, model=embedded(), embed_none=embedded(), embedding=front("looked up"))
    assert chosen(tmp_path / "model.onnx") == "embedding.onnx"
    written(tmp_path / "whole", model=text(decoder_text()), embed_tokens=front("looked up"))
    assert chosen(tmp_path / "whole") is None


def test_without_one_the_error_says_what_to_do(tmp_path: Path) -> None:
    written(tmp_path, model=embedded())
    with pytest.raises(PocketError) as caught:
        toolkit.compile(tmp_path, tmp_path / "x.plan", device="pocl")
    assert "'inputs_embeds' takes what another file" in caught.value.because
    assert "put that file (embed_tokens.onnx, embedding.onnx) beside" in caught.value.hint


def test_another_embedding_is_another_model(tmp_path: Path) -> None:
    written(tmp_path, model=embedded(), embedding=front("looked up"))
    before = load_source(tmp_path / "model.onnx")
    changed = front("looked up")
    changed.graph.initializers["table"].const_value = ir.tensor(np.ones((40, 32), np.float32))
    written(tmp_path, embedding=changed)
    after = load_source(tmp_path / "model.onnx")
    assert before.sha256 != after.sha256
    assert len(after.model.graph.inputs) == len(embedded().graph.inputs)
