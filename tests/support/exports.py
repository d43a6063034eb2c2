"""The embedded model, and the collection of exports beside the checkout if it is there."""

from pathlib import Path

import pytest

import toolkit
from toolkit.compiler.report import CompileReport

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "toolkit/demo_model"
COLLECTION = ROOT.parent / "shared/models"

# The same function from several exporters: optimum, torch.onnx (three opsets), the GenAI builder.
FAMILIES = {
    "random/llama": ("optimum", "dynamo", "dynamo23", "genai-fp32"),
    "random/qwen2": ("optimum", "dynamo", "dynamo23", "genai-fp32"),
    "random/mistral": ("optimum", "dynamo", "dynamo23", "genai-fp32", "genai-fp32-nowin"),
    "real/stories260K-onnx": ("optimum", "dynamo-op20", "dynamo-op23", "dynamo-op24"),
    "real/stories260K-hd16-onnx": ("genai-fp32-cpu", "genai-fp32-cpu-unfused", "genai-fp16-webgpu"),
    "real/trained-llama_silu-onnx": ("optimum",),
    "real/trained-llama_relu-onnx": ("optimum",),
}


def folder_of(family: str, spelling: str) -> Path:
    """`random/` models are folders of folders, `real/` ones are named in one word."""
    return COLLECTION / (
        f"{family}-{spelling}" if family.startswith("real") else f"{family}/{spelling}"
    )


EXPORTS = [("demo", "optimum"), *((f, s) for f, spellings in FAMILIES.items() for s in spellings)]


class Plans:
    """Compiles each model once for the whole session."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.reports = folder, dict[tuple[str, str], CompileReport]()

    def __call__(self, family: str, spelling: str) -> CompileReport:
        key = family, spelling
        if key not in self.reports:
            source = DEMO if family == "demo" else folder_of(family, spelling)
            if not source.exists():
                pytest.skip(f"{source} is not here")
            out = self.folder / f"{family}-{spelling}.plan".replace("/", "-")
            self.reports[key] = toolkit.compile(source, out)
        return self.reports[key]
