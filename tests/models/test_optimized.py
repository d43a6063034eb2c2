"""Models after ONNX Runtime's own tools: its optimizer at every level, its converter to half."""

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from exports import DEMO, folder_of
from needed import here
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.optimizer import optimize_model

import toolkit
from toolkit.evaluation.verify import verify

Tool = Callable[[Path, Path], None]
LEVELS = ort.GraphOptimizationLevel


def optimized(level: ort.GraphOptimizationLevel) -> Tool:
    """As a session saves its graph (`optimized_model_filepath`)."""

    def run(source: Path, target: Path) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 4
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    return run


def fused(source: Path, target: Path) -> None:
    """The fusions of onnxruntime.transformers behind the session's, as optimum's -O2 runs them."""
    optimized(LEVELS.ORT_ENABLE_EXTENDED)(source, target)
    made = optimize_model(str(target), model_type="gpt2", num_heads=6, hidden_size=96, opt_level=0)
    made.save_model_to_file(str(target))


def halved(source: Path, target: Path) -> None:
    """Half precision with float32 in- and outputs: nodes in no order, casts at the borders."""
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def fused_and_halved(source: Path, target: Path) -> None:
    """As optimum's -O4."""
    fused(source, target)
    halved(target, target)


TOOLS: dict[str, Tool] = {
    "basic": optimized(LEVELS.ORT_ENABLE_BASIC),
    "extended": optimized(LEVELS.ORT_ENABLE_EXTENDED),
    "all": optimized(LEVELS.ORT_ENABLE_ALL),
    "fused": fused,
    "half": halved,
    "fused half": fused_and_halved,
}
ROUTES = ("optimum", "dynamo", "dynamo23", "genai-fp32", "genai-int4")
CASES = [("optimum", "fused half")]
OTHERS = [
    ("demo", "all"),
    ("demo", "half"),
    *((r, t) for r in ROUTES for t in ("all", "fused half")),
]
CASES += [pytest.param(*c, marks=pytest.mark.slow) for c in OTHERS if c not in CASES]


@pytest.mark.parametrize(("route", "tool"), CASES)
def test_compiles_and_computes_the_same(route: str, tool: str, tmp_path: Path) -> None:
    source = here(DEMO if route == "demo" else folder_of("random/llama", route))
    folder = tmp_path / "model"
    shutil.copytree(source, folder)
    TOOLS[tool](source / "model.onnx", folder / "model.onnx")
    toolkit.compile(folder, tmp_path / "x.plan", device="pocl")
    result = verify(tmp_path / "x.plan")
    assert result["ok"], result["cases"]
    half, quantized = "half" in tool, "int4" in route  # the original computes in half, or with int8
    limit = 1e-2 if quantized else 1e-3 if half else 1e-8
    assert all(case["nmse"] < limit for case in result["original"]), result["original"]
    assert quantized or half or result["greedy_match"]


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_changes_the_file(tool: str, tmp_path: Path) -> None:
    """What the cases above compile is what these tools write, and not the export again."""
    TOOLS[tool](DEMO / "model.onnx", tmp_path / "model.onnx")
    before, after = onnx.load(DEMO / "model.onnx"), onnx.load(tmp_path / "model.onnx")
    assert [n.op_type for n in before.graph.node] != [n.op_type for n in after.graph.node]
