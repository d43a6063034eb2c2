"""Attention on GPUs reads each element of keys and values once for all rows of a work-group.

The kernels are built with loads that count: how often each vector of four elements was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyopencl as cl
import pytest

from opencl_kernels import KERNELS, family_of
from opencl_kernels.attention.heads import Heads, visible
from opencl_kernels.case import At
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import Array
from opencl_kernels.kernel import source_text
from opencl_kernels.launch import all_defines, build, launch_built
from opencl_kernels.map.indexed import Operand
from opencl_kernels.tuned import usual_knobs

ROWS = 8  # of a work-group
COUNTING = """
#define FOURS (C * (K + V) / 4)
#define SEEN(vector) atomic_inc((volatile __global int *)p0 + (b * G + g) * FOURS + (vector))
#define SEEN_x(i) 0
#define SEEN_keys(i) SEEN((i) / 4)
#define SEEN_values(i) SEEN((C * K + (i)) / 4)
#undef LOAD4_1
#define LOAD4_1(p, i) ((void)SEEN_##p(i), vload_half4(0, (p) + (i)))
#undef EIGHT // of attention_half
#define EIGHT(p, i, d, width)                                                                 \
  ((void)SEEN_##p(i), (void)SEEN_##p((i) + 4), vload4(0, (__global const uint *)((p) + (i))))
__kernel"""


def counting(B: int, H: int, G: int, K: int, V: int, C: int, **others: Any) -> Heads:
    """A case with an input that has room for the counts."""
    counts = Operand("i32", B * G * C * (K + V) // 4)
    sizes = {"B": B, "H": H, "G": G, "K": K, "V": V, "C": C}
    return Heads(SCALE=0.1, x="f16", kv="f16", inputs=(counts,), **sizes, **others)


def reads(queue: Any, name: str, case: Heads) -> Iterator[tuple[Array, Array]]:
    """Of each text and K/V head: how often its keys and its values were read, [C, K/4] each."""
    family, kernel = family_of(name), KERNELS[name]
    knobs = usual_knobs(kernel, case, "generic", 32768)
    assert knobs is not None
    text = source_text(kernel.source).replace("\n__kernel", COUNTING, 1)
    program = build(queue.context, queue.device, text, all_defines(kernel, case, knobs))
    inputs = random_inputs(family, case, np.random.default_rng(0))
    inputs["a0"] = np.zeros_like(inputs["a0"])
    built = cl.Kernel(program, name)
    outputs, _ = launch_built(queue, built, family, kernel, inputs, case, knobs)
    for counts in outputs["a0"].reshape(case.B * case.G, -1):
        keys, values = np.split(counts, [case.C * case.K // 4])
        yield keys.reshape(case.C, -1), values.reshape(case.C, -1)


def expected(case: Heads, g: int, rows: int) -> Array:
    """How many work-groups read a key: those of whose tokens one sees it."""
    heads, found = case.H // case.G, np.zeros(case.C, int)
    seen = [keys for m, b, *keys in visible(case) if b == g // case.G]
    for first in range(0, len(seen) * heads, rows):
        tokens = [seen[row // heads] for row in range(first, min(first + rows, len(seen) * heads))]
        found[min(low for low, _ in tokens) : max(high for _, high in tokens)] += 1
    return found


DECODE = At(seq=1, past=90)
HALF = At(seq=1, past=45)
PADDED = At(seq=1, past=90, start=(0, 33))


@pytest.mark.parametrize(
    ("name", "case", "rows"),
    [
        ("attention_decode", counting(1, 8, 1, 128, 128, 100, M=1, at=DECODE), 8),  # Gemma's
        ("attention_decode", counting(2, 8, 2, 64, 32, 100, M=2, at=PADDED), 4),  # Llama's
        ("attention_decode", counting(1, 3, 3, 20, 24, 100, M=1, at=DECODE), 1),
        ("attention_decode", counting(1, 16, 1, 64, 64, 100, M=1, at=DECODE), 8),  # two groups
        ("attention_decode", counting(1, 10, 2, 64, 64, 100, M=1, WINDOW=70, at=DECODE), 5),
        ("attention_decode_half", counting(1, 32, 2, 128, 128, 50, M=1, at=HALF), 16),  # ChatGLM2's
        ("attention_decode_half", counting(1, 71, 1, 64, 64, 50, M=1, at=HALF), 80),  # Falcon's
        ("attention_decode_half", counting(1, 48, 1, 128, 128, 50, M=1, at=HALF), 48),
        ("attention_split_half", counting(1, 24, 2, 40, 24, 100, M=1, SPLITS=3, at=DECODE), 16),
        ("attention_split", counting(1, 14, 2, 64, 300, 100, M=1, SPLITS=3, at=DECODE), 7),
        ("attention_prefill", counting(1, 4, 2, 32, 64, 100, M=21, at=At(seq=21, past=70)), ROWS),
        ("attention_prefill_half", counting(1, 4, 2, 32, 64, 80, M=40, at=At(seq=40, past=9)), 64),
        ("attention_prefill_half", counting(1, 8, 1, 256, 256, 9, M=9, WINDOW=5, at=At(seq=9)), 16),
        ("attention_prefill", counting(1, 6, 2, 64, 64, 70, M=21, WINDOW=30, at=At(seq=21)), ROWS),
    ],
)  # fmt: skip
def test_keys_and_values_are_read_once(queue: Any, name: str, case: Heads, rows: int) -> None:
    for g, (keys, values) in enumerate(reads(queue, name, case)):
        for counts in (keys, values):
            wanted = np.broadcast_to(expected(case, g, rows)[:, None], counts.shape)
            np.testing.assert_array_equal(counts, wanted)
