"""Attention over tiles of halves: as exact as floats, in few loads, and in registers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from clang_ir import body_of, needs_clang
from launches import nmse

from opencl_kernels import FAMILIES, KERNELS, family_of
from opencl_kernels.attention.heads import Heads
from opencl_kernels.attention.tiles import LOCAL, tiles
from opencl_kernels.case import At
from opencl_kernels.family import kernels_for, random_inputs
from opencl_kernels.launch import launch
from opencl_kernels.tuned import default_knobs, usual_knobs

NAMES = ("attention_prefill_half", "attention_decode_half", "attention_split_half")
CLASSES = ("adreno", "mali", "generic")
MODELS = {  # H, G, K, V
    "Gemma 2B": (8, 1, 256, 256),
    "Gemma 2 27B": (32, 16, 128, 128),
    "ChatGLM2 6B": (32, 2, 128, 128),
    "Falcon 7B": (71, 1, 64, 64),
    "Falcon 40B": (128, 8, 64, 64),
    "StarCoder": (48, 1, 128, 128),
    "Llama 3.2 1B": (32, 8, 64, 64),
    "Phi-3 mini": (32, 32, 96, 96),
    "DeepSeek V3": (128, 128, 192, 128),
    "128 heads on one": (128, 1, 128, 128),
    "wide heads on one": (128, 1, 512, 512),
}
WIDTHS = (
    *(24, 64, 128, 256),
    *(pytest.param(width, marks=pytest.mark.slow) for width in (32, 80, 96, 112)),
)
LARGEST = 65504  # of halves
ROOM = 32768


def launched(H: int, G: int, K: int, V: int = 0) -> Iterator[tuple[str, Heads]]:
    """What the phases of a model with such heads launch."""
    sizes: dict[str, Any] = {"H": H, "G": G, "K": K, "V": V, "C": 4096, "SCALE": K**-0.5}
    one = Heads(M=1, x="f16", y="f16", kv="f16", at=At(seq=1), **sizes)
    cases = (replace(one, M=256, at=At(seq=256)), one, replace(one, SPLITS=16))
    for name, case in zip(NAMES, cases, strict=True):
        if KERNELS[name].supports(case) is None:
            yield name, case


@pytest.mark.parametrize("device_class", CLASSES)
@pytest.mark.parametrize("model", MODELS)
def test_tiles_of_real_models_find_room(model: str, device_class: str) -> None:
    for name, case in launched(*MODELS[model]):
        kernel, usual = KERNELS[name], default_knobs(KERNELS[name], device_class)
        assert usual_knobs(kernel, case, device_class, ROOM) == usual
        assert kernel.requires(case, usual).local_bytes <= LOCAL, name


@pytest.mark.parametrize("model", ["ChatGLM2 6B", "Falcon 7B", "Falcon 40B", "StarCoder"])
@pytest.mark.parametrize("device_class", CLASSES)
def test_one_work_group_has_all_heads_of_a_token(model: str, device_class: str) -> None:
    H, G, *_ = MODELS[model]
    for name, case in launched(*MODELS[model]):
        if "prefill" not in name:
            assert tiles(case, default_knobs(KERNELS[name], device_class)).held_rows >= H // G


def test_processors_keep_to_their_own_kernels() -> None:
    """Which are older: plans for them stay as they were."""
    for name in ("attention_prefill", "attention_decode", "attention_split"):
        found = [kernel.name for kernel in kernels_for(FAMILIES[name], "cpu")]
        assert found == [f"{name}_cpu", name]


def products_and_loads(text: str) -> Iterator[tuple[int, int]]:
    """Of each loop that has products of vectors: multiply-adds, and loads of any memory."""
    for block in re.split(r"\n(?=\d+:)", text):
        added = re.findall(
            r"call <(\d+) x float> @llvm\.fmuladd|call (float) @llvm\.fmuladd", block
        )
        products = sum(int(width or 1) for width, _ in added)
        if products >= 8:
            yield products, len(re.findall(r" = load |@_Z\d+vload", block))


@needs_clang
@pytest.mark.parametrize("K", WIDTHS)
@pytest.mark.parametrize("device_class", ["adreno", "generic"])  # mali's are adreno's
def test_registers_hold_the_sums_and_loads_feed_many_products(K: int, device_class: str) -> None:
    """In prefill: decode waits for memory, and its loads are few enough where each line is read
    once. With one row and one key, a load of eight elements would have four products."""
    few = ("attention_decode_shuffle", next(launched(8, 2, K))[1])
    for name, case in (*launched(32, 2, K), few):
        text = body_of(KERNELS[name], case, default_knobs(KERNELS[name], device_class))
        assert "alloca" not in text, (name, re.findall(".*alloca.*", text))
        counts = list(products_and_loads(text))
        assert counts
        if "prefill" in name:
            least = 8 if K >= 64 else 5
            assert all(products >= least * loads for products, loads in counts), counts


def extreme(case: Heads, rng: np.random.Generator) -> dict[str, Any]:
    """Queries and keys whose products no half can hold, and the largest values."""
    inputs = random_inputs(family_of("attention_prefill"), case, rng)
    inputs["q"] = rng.uniform(-300, 300, inputs["q"].shape).astype(np.float16)
    inputs["k_state"] = rng.uniform(-300, 300, inputs["k_state"].shape).astype(np.float16)
    inputs["v_state"] = rng.uniform(-LARGEST, LARGEST, inputs["v_state"].shape).astype(np.float16)
    return inputs


@pytest.mark.parametrize("name", NAMES[:2])
def test_nothing_is_summed_in_halves(queue: Any, name: str) -> None:
    seq = 5 if "prefill" in name else 1
    case = Heads(M=seq, H=10, G=1, K=64, C=80, SCALE=1e-5, x="f16", kv="f16",
                 at=At(seq=seq, past=75 - seq))  # fmt: skip
    kernel, inputs = KERNELS[name], extreme(case, np.random.default_rng(0))
    outputs, _ = launch(queue, family_of(name), kernel, inputs, case, default_knobs(kernel, "mali"))
    assert nmse(outputs["y"], family_of(name).reference(inputs, case)["y"]) < 1e-10
