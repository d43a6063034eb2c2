"""Attention of the sizes, masks and scores that tests run and benchmarks time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At
from opencl_kernels.map.indexed import Operand

SMALL = Heads(M=1, H=2, G=1, K=8, C=6, SCALE=0.35, at=At(seq=1, past=4))
ALIBI = "s + a0[i1] * Float(i3 - i2 - past)"  # a slope for each head (Press et al. 2021)
MIXED = (
    Heads(M=14, H=6, G=2, K=16, C=30, SCALE=0.25, B=2, at=At(seq=7, past=3, start=(0, 6))),
    Heads(M=5, H=4, G=1, K=30, C=24, SCALE=0.2, WINDOW=17, ring=True, at=At(seq=5, past=40)),
    Heads(M=3, H=3, G=3, K=100, C=70, SCALE=0.1, kv="f16", x="f16", y="f16",
          at=At(seq=3, past=65)),
)  # fmt: skip
SCORED = (
    Heads(  # a slope and a sink for each head of each text
        M=14, H=6, G=2, K=20, V=7, C=30, SCALE=0.25, B=2, at=At(seq=7, past=3, start=(0, 6)),
        score=ALIBI, sink="a1[6*i0 + i1]",
        inputs=(Operand("f32", 6), Operand("f32", 12)),
    ),
    Heads(  # scores that are capped, as Gemma's, and sinks, as in gpt-oss
        M=5, H=4, G=1, K=17, V=33, C=24, SCALE=0.2, WINDOW=17, ring=True, kv="f16",
        at=At(seq=5, past=40),
        score="3.0 * Tanh(s / 3.0)", sink="a0[i1] + Float(i2)", inputs=(Operand("f16", 4),),
    ),
    Heads(  # a table of distances, as in T5, and a mask from memory
        M=3, H=3, G=3, K=100, V=64, C=70, SCALE=0.1, kv="f16", x="f16", y="f16",
        at=At(seq=3, past=65),
        score="Where(a1[68*i2 + i3] >= 0, s + a0[3*Min(past + i2 - i3, 15) + i1], -65504.0)",
        inputs=(Operand("f32", 48), Operand("i32", 204)),
    ),
)  # fmt: skip
HALVES: dict[str, Any] = {"x": "f16", "kv": "f16"}
BIASED: dict[str, Any] = {"score": ALIBI, "sink": "a1[10*i0 + i1]"}
PREFILL_IN_HALVES = (
    Heads(M=7, H=6, G=2, K=20, V=7, C=12, SCALE=0.25, **HALVES, at=At(seq=7, past=3)),
    Heads(M=130, H=10, G=2, K=24, C=70, SCALE=0.25, B=2, **HALVES, **BIASED,
          inputs=(Operand("f32", 10), Operand("f32", 20)), at=At(seq=65, past=3, start=(0, 6))),
    Heads(M=37, H=4, G=2, K=128, C=170, SCALE=0.09, WINDOW=33, y="f16", **HALVES,
          at=At(seq=37, past=130, start=(100,))),
    Heads(M=9, H=8, G=1, K=256, C=72, SCALE=0.07, WINDOW=63, ring=True, **HALVES,
          at=At(seq=9, past=500)),
    Heads(M=21, H=3, G=3, K=192, V=128, C=86, SCALE=0.07, score="20.0 * Tanh(s / 20.0)", y="f16",
          **HALVES, at=At(seq=21, past=65)),
    Heads(M=63, H=7, G=1, K=80, C=63, SCALE=0.1, y="f16", **HALVES, at=At(seq=63)),
    Heads(M=65, H=2, G=2, K=64, C=200, SCALE=0.125, **HALVES, at=At(seq=65, past=63)),
)  # fmt: skip
DECODE_IN_HALVES = (  # many heads of a K/V head
    Heads(M=1, H=9, G=1, K=20, V=7, C=12, SCALE=0.25, **HALVES, at=At(seq=1, past=3)),
    Heads(M=4, H=20, G=2, K=24, C=70, SCALE=0.25, B=2, **HALVES, **BIASED,
          inputs=(Operand("f32", 20), Operand("f32", 30)), at=At(seq=2, past=65, start=(0, 6))),
    Heads(M=1, H=12, G=1, K=192, V=128, C=64, SCALE=0.07, WINDOW=63, ring=True, **HALVES,
          at=At(seq=1, past=500)),
    Heads(M=1, H=71, G=1, K=64, C=130, SCALE=0.125, y="f16", **HALVES, at=At(seq=1, past=127)),
    Heads(M=1, H=32, G=2, K=128, C=99, SCALE=0.09, y="f16", **HALVES, at=At(seq=1, past=98)),
)  # fmt: skip
PREFILL_CASES = (
    replace(SMALL, M=3, at=At(seq=3)),
    *MIXED,
    *SCORED,
    *PREFILL_IN_HALVES,
    Heads(M=65, H=2, G=2, K=64, C=200, SCALE=0.125, kv="f16", at=At(seq=65, past=63)),
    Heads(M=37, H=4, G=2, K=128, C=37, SCALE=0.09, WINDOW=7, at=At(seq=37, start=(20,))),
)
DECODE_CASES = (
    SMALL,
    *MIXED,
    *SCORED,
    *DECODE_IN_HALVES,
    Heads(M=2, H=4, G=2, K=64, C=130, SCALE=0.125, B=2, kv="f16",
          at=At(seq=1, past=128, start=(0, 100))),
    Heads(M=1, H=8, G=1, K=128, C=64, SCALE=0.09, WINDOW=63, ring=True, at=At(seq=1, past=500)),
    Heads(M=1, H=7, G=1, K=100, C=33, SCALE=0.1, at=At(seq=1, past=31)),
)  # fmt: skip
SHORT = Heads(M=512, H=12, G=4, K=64, C=2048, SCALE=0.125, at=At(seq=512))
LONG = replace(SHORT, M=1, C=8192, at=At(seq=1, past=8191))
PREFILL_BENCH = (
    SHORT,
    replace(SHORT, at=At(seq=512, past=1536)),
    replace(LONG, M=256, kv="f16", at=At(seq=256, past=7936)),
    replace(SHORT, score=ALIBI, inputs=(Operand("f32", SHORT.H),)),
    replace(SHORT, y="f16", **HALVES),
    replace(SHORT, H=8, G=1, K=256, C=512, SCALE=0.0625, y="f16", **HALVES),
)
DECODE_BENCH = (
    replace(SHORT, M=1, at=At(seq=1, past=511)),
    LONG,
    replace(LONG, kv="f16"),
    replace(LONG, H=32, G=8, K=128, SCALE=0.088, kv="f16"),
    replace(LONG, score=ALIBI, inputs=(Operand("f32", LONG.H),)),
    replace(LONG, H=32, G=2, K=128, SCALE=0.088, y="f16", **HALVES),
)
