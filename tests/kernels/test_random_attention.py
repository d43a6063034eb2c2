"""Attention at random sizes, masks, storage, scores and sinks, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from launches import check_launch, skip_without

from opencl_kernels import KERNELS, family_of
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At
from opencl_kernels.map.indexed import Operand
from opencl_kernels.tuned import default_knobs

NAMES = [
    name
    for name in KERNELS
    if name.startswith(("attention_prefill", "attention_decode", "attention_split"))
]
# With inputs a0 [H], a1 [B, H, past + seq] and a2 [past + seq].
SCORES = (
    "",
    "s + a0[i1] * Float(i3 - i2 - past)",
    "4.0 * Tanh(s / 4.0) + a1[(past + seq) * ({H}*i0 + i1) + i3]",
    "s + Where(a2[i3] > -1, 0.0, -1e9)",
    "Where(i3 // 3 == (past + i2) // 3, s, -65504.0)",  # chunks
    "Where(And(i3 >= start[i0] + 2, i3 <= past + i2), 0.5 * s, -inf)",
)
SINKS = ("", "a0[i1]", "a0[i1] * Float(i2 + i0)", "-2.5")


def random_case(name: str, rng: np.random.Generator) -> Heads:
    """A case of the kernel; masks, score and sink as they fall."""
    B, G, past = (int(n) for n in rng.integers([1, 1, 0], [3, 4, 90]))
    seq = int(rng.integers(2, 40)) if "prefill" in name else 1
    in_halves = name.endswith("_half")
    H = G * int(rng.integers(*((9, 24) if in_halves and seq == 1 else (1, 6))))
    window, keys = int(rng.choice([0, 1, 9, 33])), past + seq
    ring = bool(window and rng.integers(2))
    slots = int(rng.integers(window + seq, 80)) if ring else keys + int(rng.integers(5))
    start = [int(n) for n in rng.integers(0, keys, B)]
    score, sink = str(rng.choice(SCORES)).format(H=H), str(rng.choice(SINKS))
    inputs = (Operand("f32", H), Operand("f16", B * H * keys), Operand("i32", keys))
    return Heads(
        M=B * seq,
        **{"B": B, "H": H, "G": G, "C": slots},
        K=int(rng.integers(1, 100)),
        V=int(rng.choice([0, rng.integers(1, 100)])),
        SCALE=0.2,
        WINDOW=window,
        ring=ring,
        kv=str(rng.choice(["f16"] if in_halves else ["f32", "f16"])),
        x="f16" if in_halves else "f32",
        SPLITS=int(rng.integers(1, 5)) if "split" in name else 0,
        score=score,
        sink=sink,
        inputs=inputs if score or sink else (),
        at=At(seq=seq, past=past, start=tuple(start)),
    )


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))])
@pytest.mark.parametrize("name", NAMES)
def test_attention_equals_numpy_at_any_size(queue: Any, name: str, seed: int) -> None:
    case = random_case(name, np.random.default_rng([seed, *map(ord, name)]))
    kernel = KERNELS[name]
    knobs = default_knobs(kernel, kernel.classes[0])
    skip_without(queue, kernel.requires(case, knobs).features)
    check_launch(queue, family_of(name), kernel, case, knobs)
