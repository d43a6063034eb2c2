"""The tiny decoder with a head of its own and many words, whose embedding lies in flash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from changed_decoder import CONSTANTS, EMBEDDED
from flash_networks import WIDE
from pass_helpers import text
from tiny_decoder import decoder_text

import toolkit
from toolkit.compiler.report import CompileReport

V = 4000
TIED = "tt = Transpose<perm = [1, 0]>(table)  logits = MatMul(z, tt)"
CHANGES = (
    ("float[40, 32] table", f"float[{V}, 32] table"),
    (", 40] logits", f", {V}] logits"),
    *WIDE,
)
UNTIED = ((TIED, "logits = MatMul(z, head)"), (CONSTANTS, f"{CONSTANTS}, float[32, {V}] head"))


def coded(bits: int, zero: bool) -> tuple[tuple[str, str], ...]:
    """The embedding's table in codes, as ONNX Runtime's builder writes it."""
    inputs = "codes, input_ids, scales" + (", zeros" if zero else "")
    attributes = f"bits = {bits}, block_size = 16, quantize_axis = 1, gather_axis = 0"
    zeros = f", uint8[{V}, {bits // 4}] zeros" if zero else ""
    constants = f", uint8[{V}, {4 * bits}] codes, float[{V}, 2] scales{zeros}"
    return (
        (EMBEDDED, f"h = com.microsoft.GatherBlockQuantized<{attributes}>({inputs})"),
        (f"float[{V}, 32] table, ", ""),
        (f"float[32, {V}] head", f"float[32, {V}] head{constants}"),
        ('["": 18]', '["": 18, "com.microsoft": 1]'),
    )


def worded(path: Path, *changes: tuple[str, str], halves: bool = True) -> Path:
    """The model; halves: its weights are such that float16 holds them."""
    source = decoder_text()
    for old, new in (*CHANGES, *changes):
        assert old in source, old
        source = source.replace(old, new, 1)
    model, random = text(source), np.random.default_rng(0)
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        if value.dtype == ir.DataType.UINT8:
            codes = random.integers(0, 256, value.const_value.shape.numpy(), np.uint8)
            value.const_value = ir.tensor(codes, name=value.name)
        elif halves and value.dtype == ir.DataType.FLOAT:
            rounded = np.clip(value.const_value.numpy(), -6e4, 6e4).astype(np.float16)
            value.const_value = ir.tensor(rounded.astype(np.float32), name=value.name)
    ir.save(model, path)
    return path


def made_worded(folder: Path, *changes: tuple[str, str], **options: Any) -> CompileReport:
    """Its plan."""
    model = worded(folder / "model.onnx", *changes)
    chosen = {"weights": "f16", "memory": "80%", "max_context": 32, "prefill_chunk": 8, **options}
    return toolkit.compile(model, folder / "m.plan", **chosen)
