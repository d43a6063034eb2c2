"""Kernels of phones' GPUs fit into their local memory, 32 KiB, whatever the model's heads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from opencl_kernels import KERNELS, Kernel
from opencl_kernels.kernel import Case, Knobs, random_inputs
from opencl_kernels.launch import GUARD, launch
from opencl_kernels.tuned import usual_knobs

ROOM = 32768
SHAPES = {  # H, G, K, D, F, V, from the models' config.json
    "Gemma 2B": (8, 1, 256, 2048, 16384, 256000),
    "Gemma 7B": (16, 16, 256, 3072, 24576, 256000),
    "Gemma 2 2B": (8, 4, 256, 2304, 9216, 256000),
    "Gemma 2 9B": (16, 8, 256, 3584, 14336, 256000),
    "Gemma 2 27B": (32, 16, 128, 4608, 36864, 256000),
    "Gemma 3 1B": (4, 1, 256, 1152, 6912, 262144),
    "Gemma 3 4B": (8, 4, 256, 2560, 10240, 262208),
    "ChatGLM2 6B": (32, 2, 128, 4096, 13696, 65024),
    "Falcon 7B": (71, 1, 64, 4544, 18176, 65024),
    "Falcon 40B": (128, 8, 64, 8192, 32768, 65024),
    "StarCoder": (48, 1, 128, 6144, 24576, 49152),
    "StarCoderBase 1B": (16, 1, 128, 2048, 8192, 49152),
    "Llama 2 7B": (32, 32, 128, 4096, 11008, 32000),
    "Llama 3.2 1B": (32, 8, 64, 2048, 8192, 128256),
    "Llama 3.2 3B": (24, 8, 128, 3072, 8192, 128256),
    "TinyLlama 1.1B": (32, 4, 64, 2048, 5632, 32000),
    "Qwen2.5 0.5B": (14, 2, 64, 896, 4864, 151936),
    "Qwen2.5 1.5B": (12, 2, 128, 1536, 8960, 151936),
    "Qwen2.5 7B": (28, 4, 128, 3584, 18944, 152064),
    "Qwen3 0.6B": (16, 8, 128, 1024, 3072, 151936),
    "Mistral 7B": (32, 8, 128, 4096, 14336, 32000),
    "Phi-3 mini": (32, 32, 96, 3072, 8192, 32064),
    "Phi-4 mini": (24, 8, 128, 3072, 8192, 200064),
    "SmolLM2 1.7B": (32, 32, 64, 2048, 8192, 49152),
    "gpt-oss 20B": (64, 8, 64, 2880, 2880, 201088),
    "128 heads on one": (128, 1, 128, 4096, 16384, 32000),
    "wide heads on one": (128, 1, 512, 4096, 16384, 32000),
}
GENERIC = {name for name, kernel in KERNELS.items() if "generic" in kernel.classes}
CODES = {"w": "e0m4", "GROUP": 32, "scale": "f16", "zero": "u8"}


def cases_of(model: str) -> Iterator[tuple[str, Case]]:
    """What the phases of such a model launch: many rows, then one."""
    H, G, K, D, F, V = SHAPES[model]
    heads = {"H": H, "G": G, "K": K, "C": 4096, "SCALE": K**-0.5, "kv": "f16"}
    products: tuple[Case, ...] = (
        {"N": (H + 2 * G) * K, "K": D, "bias": True},
        {"N": D, "K": H * K, "residual": True},
        {"N": 2 * F, "F": F, "K": D, "GLU": 1},
        {"N": D, "K": F, "residual": True},
        {"N": V, "K": D},
    )
    for rows in (256, 1):
        yield "embed", {"M": rows, "V": V, "D": D, **CODES}
        yield "rmsnorm", {"M": rows, "D": D, "EPS": 1e-6}
        yield "add_rmsnorm", {"M": rows, "D": D, "EPS": 1e-6}
        yield "rope_kv", {**heads, "M": rows, "R": K, "CTX": 4096}
        for each in products:
            yield "gemm", {**each, **CODES, "M": rows}
    for each in products:
        yield "gemv", {**each, **CODES, "M": 1, "EPS": 1e-6}
    yield "attention_prefill", {**heads, "M": 256, "seq": 256}
    yield "attention_decode", {**heads, "M": 1, "seq": 1}
    yield "attention_split", {**heads, "M": 1, "seq": 1, "SPLITS": 16}
    yield "attention_combine", {**heads, "M": 1, "seq": 1, "SPLITS": 16}
    yield "sample", {"M": 1, "B": 1, "V": V, "C": 4096}
    yield "elementwise", {"EXPR": "a0 + a1", "INPUTS": 2, "COUNT": 256 * D}


def test_every_kernel_of_gpus_is_counted() -> None:
    assert {name for name, _ in cases_of("Gemma 2B")} == GENERIC


@pytest.mark.parametrize("model", SHAPES)
def test_kernels_of_real_models_fit(model: str) -> None:
    for name, case in cases_of(model):
        knobs = usual_knobs(KERNELS[name], case, "generic", ROOM)
        assert knobs is not None, (name, case)
        assert KERNELS[name].local_bytes(case, knobs) <= ROOM


def test_common_shapes_keep_the_defaults() -> None:
    """Fewer heads or tokens in a group only where all are too much."""
    for model in ("Llama 2 7B", "Llama 3.2 1B", "Qwen2.5 1.5B", "Mistral 7B", "Gemma 2 2B"):
        for name, case in cases_of(model):
            if name.startswith("attention"):
                usual = usual_knobs(KERNELS[name], case, "generic", 1 << 40)
                assert usual_knobs(KERNELS[name], case, "generic", ROOM) == usual


SMALL = {
    "Gemma": {"H": 8, "G": 1, "K": 256, "SCALE": 0.06},
    "Falcon": {"H": 71, "G": 1, "K": 64, "SCALE": 0.12},
}
LAUNCHES: dict[str, Case] = {
    "attention_prefill": {"M": 7, "seq": 7, "C": 20, "past": 11, "WINDOW": 9, "kv": "f16"},
    "attention_decode": {"M": 2, "seq": 1, "B": 2, "C": 21, "past": 20, "start": (0, 3)},
    "attention_split": {"M": 2, "seq": 1, "B": 2, "C": 21, "past": 20, "start": (0, 3),
                        "SPLITS": 3},
}  # fmt: skip


def fitting(kernel: Kernel, case: Case) -> Iterator[Knobs]:
    """Every combination of values whose local memory a phone has."""
    for values in product(*kernel.knobs.values()):
        knobs = dict(zip(kernel.knobs, values, strict=True))
        if kernel.local_bytes(case, knobs) <= ROOM:
            yield knobs


def each_launch() -> Iterator[Any]:
    for (model, heads), (name, sizes) in product(SMALL.items(), LAUNCHES.items()):
        case = {**heads, **sizes}
        seen = []
        for knobs in fitting(KERNELS[name], case):
            if (defines := KERNELS[name].defines(case, knobs)) not in seen:
                seen.append(defines)
                label = "_".join(f"{knob}{value}" for knob, value in knobs.items())
                yield pytest.param(KERNELS[name], case, knobs, id=f"{model}-{name}-{label}")


@pytest.mark.parametrize(("kernel", "case", "knobs"), list(each_launch()))
def test_any_knobs_give_the_same_answer(
    queue: Any, kernel: Kernel, case: Case, knobs: Knobs
) -> None:
    inputs = random_inputs(kernel, case, np.random.default_rng(0))
    outputs, guard = launch(queue, kernel, inputs, case, knobs)
    for name, expected in kernel.reference(inputs, case).items():
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5)
    assert (guard == GUARD).all()
