"""Decoders of one layer with a mixture of experts, as exports of Mixtral and Qwen2-MoE have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from expert_graphs import COMPUTED, FFN
from pass_helpers import text
from tiny_decoder import decoder_text

import toolkit
from toolkit.compiler.report import CompileReport

E, K, D, F = 8, 2, 32, 96

ROUTED = "score = MatMul(y, router)  odds = Softmax<axis = -1>(score)\n  "
MIXED = """  share = Unsqueeze(gates, minus)  weighed = Mul(outputs, share)
  {y} = ReduceSum<keepdims = 0>(weighed, v2)"""
MIXTRAL = (
    ROUTED
    + """top, chosen = TopK<axis = -1>(odds, pair)
  total_odds = ReduceSum<keepdims = 1>(top, minus)  gates = Div(top, total_odds)
"""
    + COMPUTED
    + MIXED.format(y="down")
)
QWEN2_MOE = (
    ROUTED
    + "gates, chosen = TopK<axis = -1>(odds, pair)\n"
    + COMPUTED
    + MIXED.format(y="mixture")
    + """
  sgate = MatMul(y, shared_gate)  ssg = Sigmoid(sgate)  sact = Mul(sgate, ssg)
  sup = MatMul(y, shared_up)  smix = Mul(sact, sup)  shared = MatMul(smix, shared_down)
  counts0 = MatMul(y, shared_router)  counts = Sigmoid(counts0)  counted = Mul(shared, counts)
  down = Add(mixture, counted)"""
)
WEIGHTS = f"""float[{E}, {2 * F}, {D}] ups, float[{E}, {D}, {F}] downs, float[{D}, {E}] router,
 int64[1] pair = {{{K}}},"""
SHARED = """ float[{D}, {W}] shared_gate, float[{D}, {W}] shared_up,
 float[{W}, {D}] shared_down, float[{D}, 1] shared_router,"""

TOYS = {
    "mixtral": (MIXTRAL, WEIGHTS),
    "qwen2_moe": (QWEN2_MOE, WEIGHTS + SHARED.format(D=D, W=2 * F)),
    # a width that is no multiple of the others': it stays a network of its own
    "qwen2_moe, apart": (QWEN2_MOE, WEIGHTS + SHARED.format(D=D, W=F + 16)),
}


def saved_toy(folder: Path, name: str) -> Path:
    """Its model.onnx."""
    ffn, weights = TOYS[name]
    source = decoder_text().replace(FFN, ffn).replace("float[48, 32] wd,", weights)
    path = folder / "model.onnx"
    onnx.save(ir.to_proto(text(source)), path)
    return path


def compiled_toy(folder: Path, name: str, **options: Any) -> CompileReport:
    """Its plan."""
    usual: dict[str, Any] = {"device": "pocl", "max_context": 32, "prefill_chunk": 8}
    model = str(saved_toy(folder, name))
    return toolkit.compile(model, folder / "model.plan", **(usual | options))
