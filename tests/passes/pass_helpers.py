"""The models that these tests run on: the embedded one, and a checkout's shared ones if there."""

from pathlib import Path

import onnx_ir as ir

from toolkit.source import load_source

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "toolkit" / "demo_model" / "model.onnx"
SHARED = ROOT.parent / "shared" / "models"
CONTEXT, CHUNK = 256, 64

# Folders that hold the same decoder, as different exporters wrote it.
FAMILIES = {
    "stories260K": (
        "real/stories260K-onnx-optimum",
        "real/stories260K-onnx-dynamo-op20",
        "real/stories260K-onnx-dynamo-op23",
        "real/stories260K-onnx-dynamo-op24",
        "real/stories260K-hd16-onnx-genai-fp32-cpu",
        "real/stories260K-hd16-onnx-genai-fp32-cpu-unfused",
        "real/stories260K-hd16-onnx-genai-fp16-webgpu",
    ),
    "trained": ("real/trained-llama_silu-onnx-optimum", "real/trained-llama_relu-onnx-optimum"),
    "llama": tuple(
        f"random/llama/{route}" for route in ("optimum", "dynamo", "dynamo23", "genai-fp32")
    ),
    "qwen2": tuple(
        f"random/qwen2/{route}" for route in ("optimum", "dynamo", "dynamo23", "genai-fp32")
    ),
    "mistral": (
        *(f"random/mistral/{route}" for route in ("optimum", "dynamo", "dynamo23")),
        "random/mistral/genai-fp32-nowin",
    ),
}


def read(path: Path, **facts: int) -> ir.Model:
    """A fresh graph with what the compiler notes before the first pass."""
    return noted(load_source(path).model, **facts)


def noted(model: ir.Model, context: int = CONTEXT, chunk: int = CHUNK, batch: int = 1) -> ir.Model:
    """The model, with context, chunk and batch in its metadata."""
    facts = {"context": context, "chunk": chunk, "batch": batch}
    model.metadata_props.update({f"pocket.{key}": str(value) for key, value in facts.items()})
    return model
