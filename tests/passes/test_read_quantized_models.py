"""Whole quantised models: what ONNX Runtime answers, they answer."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from needed import here
from pass_helpers import SHARED, read

import onnx_passes
from onnx_passes.analysis.matrices import find_matrices
from onnx_passes.weights.quantized import QuantizedTensor
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source

SOURCES = [
    *(f"real/stories260K-hd16-onnx-genai-int4-cpu{s}" for s in ("", "-asym-bs16", "-bs64-untied")),
    *(f"real/stories260K-hd16-onnx-genai-int4-cpu-{s}" for s in ("prune", "kquant", "qdq")),
    "real/stories260K-hd16-onnx-genai-int8-cpu",
    *(f"random/{family}/genai-int4" for family in ("llama", "mistral", "qwen2")),
]


def exact(folder: Path) -> onnx.ModelProto:
    """The model without rounding activations to 8 bits (accuracy_level 4)."""
    proto = onnx.load(folder / "model.onnx")
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    return proto


@pytest.mark.parametrize("folder", SOURCES)
def test_models_say_the_same_and_every_weight_keeps_its_codes(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here(SHARED / folder)
    after = read(path)
    dict(onnx_passes.rewrite(after))
    assert not {n.op_type for n in after.graph} & {"MatMulNBits", "GatherBlockQuantized"}
    products = [m for m in find_matrices(after) if m.transposed]
    assert products and all(isinstance(m.tensor, QuantizedTensor) for m in products)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as copy:
        onnx.save(exact(path), Path(copy) / "model.onnx")
        original = Reference.original(load_source(Path(copy)))
        if "qdq" in folder:  # ONNX Runtime would fuse it to a MatMulNBits of accuracy 4
            options = ort.SessionOptions()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            file = str(Path(copy) / "model.onnx")
            original.session = ort.InferenceSession(file, options, ["CPUExecutionProvider"])
        rewritten, ids = Reference.of(after), np.random.default_rng(0).integers(3, 500, 24).tolist()
        for piece in (ids[:20], ids[20:21], ids[21:]):
            theirs, ours = original.score(piece), rewritten.score(piece)
            ours = ours[-len(theirs) :]  # the pruned export has logits for the last token only
            assert np.mean((ours - theirs) ** 2) < 1e-9 * np.mean(theirs**2)


def test_nothing_is_read_before_rows_are_asked_for() -> None:
    path = here(SHARED / SOURCES[1])
    model = read(path)
    mapped = [v.const_value for v in model.graph.initializers.values()]
    codes = [t for t in mapped if isinstance(t, ir.ExternalTensor) and "_Q4" in (t.name or "")]
    dict(onnx_passes.rewrite(model))
    assert len(codes) == 26 and all(t.raw is None for t in codes)
