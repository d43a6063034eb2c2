"""Decoders of any kind compile and answer as ONNX Runtime, whether or not a fusion knows them."""

from pathlib import Path

import onnx_ir as ir
import pytest
from any_decoder import CONTEXT, DECODERS, decoder
from exports import COLLECTION
from needed import here
from pass_helpers import text

import toolkit
from toolkit.compiler.report import CompileReport
from toolkit.evaluation.verify import verify

KINDS = COLLECTION / "more/decoders"
QUICK = ("soft-capped scores", "ALiBi", "tokens first, turned")
# What exporters make of 26 architectures; the price of codes is no error of ours.
EXPORTS = {
    **dict.fromkeys(
        (
            *("apertus/dynamo", "arcee/optimum", "cohere2/dynamo", "deepseek_v3/optimum"),
            *("exaone4/dynamo", "glm4_moe/dynamo", "gpt_bigcode/optimum", "gpt_oss/optimum"),
            *("helium/optimum", "hunyuan/dynamo", "llama_longrope/optimum", "mpt/optimum"),
            *(
                "ministral3/mobius-cpu",
                "ministral3/mobius-static",
                "olmoe/mobius-default",
                "persimmon/dynamo",
            ),
            *("phi4mini/phi4mini64-genai-fp32", "qwen2_5_vl/genai-fp32", "vaultgemma/dynamo"),
        ),
        1e-8,
    ),
    **dict.fromkeys(
        (
            *("arcee/optimum-int8", "arcee/optimum-q2", "granite4/granite4_attn-genai-int4"),
            *("hunyuan/genai-int4", "llama_hd24/optimum-q4asym", "llama_hd32/genai-int4-b128"),
            *("llama_hd32/genai-int4-qdq", "llama_hd32/optimum-q4f16", "llama_hd80/genai-int4"),
            *("ministral3/mistral3-genai-int4", "phi4mini/phi4mini64-genai-int4"),
        ),
        1e-2,
    ),
}
slow = pytest.mark.slow


def compiled(source: Path, folder: Path, device: str, context: int) -> CompileReport:
    return toolkit.compile(source, folder / "x.plan", device=device, max_context=context)


def check(plan: Path, on: str, bar: float) -> None:
    """Against the rewritten graph by the limit of the plan's precision, the original by `bar`."""
    figures = verify(plan, on=on)
    assert figures["ok"], figures["cases"]
    worst = max((case["nmse"] for case in figures["original"]), default=0.0)
    assert worst < bar, figures["original"]
    assert figures["greedy_match"] or bar > 1e-8


@pytest.mark.parametrize("device", ["pocl", pytest.param("generic", marks=slow)])
@pytest.mark.parametrize(
    "name", [each if each in QUICK else pytest.param(each, marks=slow) for each in DECODERS]
)
def test_answers_as_onnx_runtime(tmp_path: Path, name: str, device: str) -> None:
    ir.save(text(decoder(name)), tmp_path / "model.onnx")
    report = compiled(tmp_path / "model.onnx", tmp_path, device, CONTEXT)
    assert report.figures["unresolved_dims"] == 0
    check(report.path, "host", 1e-8 if device == "pocl" else 1e-4)


@slow
@pytest.mark.parametrize("name", QUICK[:2])
def test_the_runner_answers_alike(tmp_path: Path, name: str) -> None:
    ir.save(text(decoder(name)), tmp_path / "model.onnx")
    check(compiled(tmp_path / "model.onnx", tmp_path, "pocl", CONTEXT).path, "runner", 1e-8)


@slow
@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_answers_as_onnx_runtime(tmp_path: Path, name: str) -> None:
    report = compiled(here(KINDS / name), tmp_path, "pocl", 128)
    assert report.figures["unresolved_dims"] == 0
    for phase, bound in report.figures["arena_lower_bound_bytes"].items():
        assert report.figures["arena_bytes"][phase] <= 1.02 * bound
    check(report.path, "host", EXPORTS[name])
