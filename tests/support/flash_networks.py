"""The tiny decoder with networks of several kinds, in plans whose weights lie in flash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from changed_decoder import CONSTANTS, DOWN
from pass_helpers import text
from tiny_decoder import decoder_text

import toolkit
from toolkit.compiler.report import CompileReport

F = 700  # several tiles, and a rest
WIDE = tuple((f"float[{a}] {name}", f"float[{b}] {name}") for a, b, name in (
    ("32, 48", f"32, {F}", "wg"), ("32, 48", f"32, {F}", "wu"), ("48, 32", f"{F}, 32", "wd"),
))  # fmt: skip
GATED = (
    "gate = MatMul(y, wg)  up = MatMul(y, wu)  sg = Sigmoid(gate)  act = Mul(gate, sg)\n"
    "  mix = Mul(act, up)"
)
BIASED = "g0 = MatMul(y, wg) gate = Add(g0, bg) u0 = MatMul(y, wu) up = Add(u0, bu)"
RELU = "gate = MatMul(y, wg) up = MatMul(y, wu) act = Relu(gate) mix = Mul(act, up)"
KINDS: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "swiglu": ((), ""),
    "reglu": (((GATED, RELU),), ""),
    "biased reglu": (
        (
            (GATED, f"{BIASED} act = Relu(gate) mix = Mul(act, up)"),
            (DOWN, "d0 = MatMul(mix, wd) down = Add(d0, bd)"),
        ),
        f", float[{F}] bg, float[{F}] bu, float[32] bd",
    ),
    "biased swiglu": (
        ((GATED, f"{BIASED} sg = Sigmoid(gate) act = Mul(gate, sg) mix = Mul(act, up)"),),
        f", float[{F}] bg, float[{F}] bu",
    ),
    "fatrelu": (
        (
            (
                GATED,
                """gate = MatMul(y, wg) up = MatMul(y, wu) much = Greater(gate, tau)
          act = Where(much, gate, fzero) mix = Mul(act, up)""",
            ),
        ),
        ", float tau = {0.5}",
    ),
    "drelu": (
        (
            (
                GATED,
                """gate = MatMul(y, wg) up = MatMul(y, wu) act = Relu(gate) ru = Relu(up)
          mix = Mul(act, ru)""",
            ),
        ),
        "",
    ),
    "gated by erf": (
        (
            (
                GATED,
                """gate = MatMul(y, wg) up = MatMul(y, wu) e = Erf(gate) act = Mul(gate, e)
          mix = Mul(up, act)""",
            ),
        ),
        "",
    ),
    "no gate": (
        ((GATED, "u0 = MatMul(y, wu) up = Add(u0, bu) r = Relu(up) mix = Mul(r, r)"),),
        f", float[{F}] bu",
    ),
}


def written(folder: Path, kind: str) -> Path:
    """The tiny decoder with such a network, of weights that halves hold as they are."""
    changes, constants = KINDS[kind]
    source = decoder_text()
    for old, new in ((CONSTANTS, CONSTANTS + constants), *WIDE, *changes):
        assert old in source
        source = source.replace(old, new)
    model = text(source)
    for value in model.graph.initializers.values():
        if value.dtype == ir.DataType.FLOAT and value.const_value is not None:
            rounded = np.clip(value.const_value.numpy(), -6e4, 6e4).astype(np.float16)
            value.const_value = ir.tensor(rounded.astype(np.float32), name=value.name)
    ir.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def made(folder: Path, kind: str, **options: Any) -> CompileReport:
    """A plan of it."""
    return planned(written(folder, kind), **options)


def planned(model: Path, **options: Any) -> CompileReport:
    """A plan of such a model, beside it."""
    chosen = {"weights": "f16", "memory": "98%", "max_context": 32, "prefill_chunk": 8, **options}
    return toolkit.compile(model, model.parent / "m.plan", **chosen)
