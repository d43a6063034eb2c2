"""Kernels of phones' GPUs fit into their local memory, 32 KiB, whatever the model's heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from launches import lacking
from real_shapes import (
    BAR,
    FLOATS,
    GPUS,
    ROOM,
    SHAPES,
    WEIGHTS,
    distinct,
    launches,
    of_gpus,
)

from opencl_kernels import KERNELS, Kernel, family_of
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At, Case
from opencl_kernels.family import random_inputs
from opencl_kernels.kernel import Knobs
from opencl_kernels.launch import GUARD, built_kernel, launch, local_memory
from opencl_kernels.tuned import usual_knobs

COMMON = ("Llama 2 7B", "Llama 3.2 1B", "Qwen2.5 1.5B", "Mistral 7B", "Gemma 2 2B")


@pytest.mark.parametrize("model", SHAPES)
def test_kernels_of_real_models_fit(model: str) -> None:
    """Every family's, by each class's knobs, and leave room for the compiler."""
    for setting in product(GPUS, FLOATS, WEIGHTS):
        for kernel, case, knobs in launches(model, *setting):
            assert kernel.requires(case, knobs).local_bytes <= BAR, (kernel.name, case, knobs)


def test_every_kernel_of_gpus_is_counted() -> None:
    assert {launch.kernel.name for launch in distinct(["Gemma 2B", "Falcon 7B"])} == of_gpus()


@pytest.mark.slow
def test_opencl_counts_local_memory_alike(queue: Any) -> None:
    """Clang does so too, for more shapes: test_private_memory.py."""
    for kernel, case, knobs in distinct(["Gemma 2B"], weights=["e0m4"]):
        needs = kernel.requires(case, knobs)
        if not lacking(queue, needs.features):
            built = built_kernel(queue, kernel, case, knobs)
            assert local_memory(queue, built) == needs.local_bytes, (kernel.name, case)


def test_common_shapes_keep_the_defaults() -> None:
    """Fewer heads or tokens in a group only where all are too much."""
    for model, device_class in product(COMMON, GPUS):
        for kernel, case, knobs in launches(model, device_class, "f16", "e0m4"):
            assert knobs == usual_knobs(kernel, case, device_class, 1 << 40), (kernel.name, case)


LAUNCHES = {
    "attention_prefill": Heads(M=7, H=1, G=1, K=1, C=20, WINDOW=9, kv="f16",
                               at=At(seq=7, past=11)),
    "attention_decode": Heads(M=2, H=1, G=1, K=1, C=21, B=2, at=At(seq=1, past=20, start=(0, 3))),
    "attention_split": Heads(M=2, H=1, G=1, K=1, C=21, B=2, SPLITS=3,
                             at=At(seq=1, past=20, start=(0, 3))),
}  # fmt: skip


def like_gemma(case: Heads) -> Heads:
    return replace(case, H=8, G=1, K=256, SCALE=0.06)


def like_falcon(case: Heads) -> Heads:
    return replace(case, H=71, G=1, K=64, SCALE=0.12)


def like_deepseek(case: Heads) -> Heads:
    return replace(case, H=6, G=2, K=192, V=128, SCALE=0.07)


def fitting(kernel: Kernel, case: Case) -> Iterator[Knobs]:
    """Every combination of values whose local memory a phone has."""
    for values in product(*kernel.knobs.values()):
        knobs = dict(zip(kernel.knobs, values, strict=True))
        if kernel.requires(case, knobs).local_bytes <= ROOM:
            yield knobs


def each_launch() -> Iterator[Any]:
    for like, (name, sizes) in product((like_gemma, like_falcon, like_deepseek), LAUNCHES.items()):
        case, seen = like(sizes), []
        for knobs in fitting(KERNELS[name], case):
            if (defines := KERNELS[name].defines(case, knobs)) not in seen:
                seen.append(defines)
                label = "_".join(f"{knob}{value}" for knob, value in knobs.items())
                yield pytest.param(name, case, knobs, id=f"{like.__name__}-{name}-{label}")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case", "knobs"), list(each_launch()))
def test_any_knobs_give_the_same_answer(queue: Any, name: str, case: Heads, knobs: Knobs) -> None:
    family = family_of(name)
    inputs = random_inputs(family, case, np.random.default_rng(0))
    outputs, guard = launch(queue, family, KERNELS[name], inputs, case, knobs)
    for key, expected in family.reference(inputs, case).items():
        np.testing.assert_allclose(outputs[key], expected, rtol=1e-4, atol=1e-5)
    assert (guard == GUARD).all()
