"""The embedded model, and the collection of exports beside the checkout if it is there."""

from pathlib import Path

import needed
from needed import here

import toolkit
from toolkit.compiler.report import CompileReport

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "toolkit/demo_model"
COLLECTION = needed.COLLECTION

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

# Decoders of other families than Llama's, and how many dispatches a token may take in a layer, or
# in each of them.
DISPATCHES: dict[str, int | tuple[int, ...]] = {
    "arcee/optimum": 6,  # squared ReLU without a gate
    "granite4/granite4_attn-genai-int4": 6,  # scaled residuals
    "vaultgemma/dynamo": 6,  # GeGLU, logits under a cap
    "apertus/dynamo": 6,  # norms of heads, an activation of its own
    "mpt/optimum": 6,  # LayerNorm, GELU by erf, ALiBi
    "persimmon/dynamo": 6,  # LayerNorm with biases, also of heads
    "gpt_bigcode/optimum": 6,  # learned positions, GELU by tanh
    "cohere2/dynamo": 6,  # attention beside the FFN, LayerNorm spelled out
    "gpt_oss/genai-fp32": 8,  # experts with biases, a unit of their own, gates by a softmax of four
    "gpt_oss/optimum": 8,  # the same with gates and ups that alternate, and sinks as a column
    "glm4_moe/dynamo": (6, 8),  # a dense layer, then experts of groups beside a shared one
    "deepseek_v3/optimum": (7, 9),  # the same with queries, keys and values of low rank
    "olmoe/mobius-default": 8,  # norms of all heads together, experts
    "exaone4/dynamo": 6,  # norms of what is added
}


class Plans:
    """Compiles each model once for the whole session."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.reports = folder, dict[tuple[str, str], CompileReport]()

    def __call__(self, family: str, spelling: str) -> CompileReport:
        key = family, spelling
        if key not in self.reports:
            source = here(DEMO if family == "demo" else folder_of(family, spelling))
            out = self.folder / f"{family}-{spelling}.plan".replace("/", "-")
            self.reports[key] = toolkit.compile(source, out)
        return self.reports[key]
