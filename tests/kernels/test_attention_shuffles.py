"""Attention of one token in sub-groups: of any size, by any driver's names, each line read once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from launches import check, skip_without
from traced import LINE, skip_without_recorder, traced_loads

from opencl_kernels import KERNELS, Kernel, family_of
from opencl_kernels.attention.clusters import fits_registers
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At
from opencl_kernels.family import random_inputs
from opencl_kernels.kernel import source_text
from opencl_kernels.launch import GUARD, all_defines, build, launch_built
from opencl_kernels.tuned import default_knobs
from toolkit.executors.opencl.device_fit import excess, limits_of
from toolkit.plan.schema import Variant

SHUFFLE, HALF = KERNELS["attention_decode_shuffle"], KERNELS["attention_decode_half"]
ONE = At(seq=1, past=98)
STORED: dict[str, Any] = {"M": 1, "C": 99, "SCALE": 0.1, "x": "f16", "y": "f16", "kv": "f16"}
CASE = Heads(H=2, G=1, K=80, V=65, **{**STORED, "y": "f32"}, at=ONE)
QUALCOMM = """
#undef cl_khr_subgroup_shuffle
#undef cl_intel_subgroups
#define cl_qcom_subgroup_shuffle 1
#define CLK_SUB_GROUP_SHUFFLE_WIDTH_WAVE_SIZE_QCOM 0
#define qcom_sub_group_shuffle_xor(v, by, width, otherwise) intel_sub_group_shuffle_xor(v, by)
"""
MODELS = {  # H, G, K
    "Gemma 2B": (8, 1, 256),
    "ChatGLM2 6B": (32, 2, 128),
    "Falcon 7B": (71, 1, 64),
    "Llama 3.2 1B": (32, 8, 64),
    "Qwen2.5 1.5B": (12, 2, 128),
}


KNOBS = default_knobs(SHUFFLE, "adreno")
DEFINES = all_defines(SHUFFLE, CASE, KNOBS)


def built_with(queue: Any, before: str, **defines: str) -> Any:
    """The kernel with text before its own, and other defines."""
    skip_without(queue, SHUFFLE.requires(CASE, KNOBS).features)
    text, defines = before + source_text(SHUFFLE.source), {**DEFINES, **defines}
    program = build(queue.context, queue.device, text, defines, SHUFFLE.options)
    return getattr(program, SHUFFLE.name)


def check_text(queue: Any, before: str, **defines: str) -> None:
    """It computes what it should."""
    built, family = built_with(queue, before, **defines), family_of(SHUFFLE.name)
    inputs = random_inputs(family, CASE, np.random.default_rng(0))
    outputs, guard = launch_built(queue, built, family, SHUFFLE, inputs, CASE, KNOBS)
    assert (guard == GUARD).all()
    check(family, CASE, inputs, outputs)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_sub_groups_of_any_size(queue: Any, size: int) -> None:
    if "cl_intel_required_subgroup_size" not in queue.device.extensions:
        pytest.skip("sub-groups have the size that the driver likes")
    check_text(queue, "", SUB_GROUP=f"__attribute__((intel_reqd_sub_group_size({size})))")


@pytest.mark.parametrize("size", [8, 16, 32])
def test_executors_find_sub_groups_that_are_too_small(queue: Any, size: int) -> None:
    if "cl_intel_required_subgroup_size" not in queue.device.extensions:
        pytest.skip("sub-groups have the size that the driver likes")
    built = built_with(queue, "", SUB_GROUP=f"__attribute__((intel_reqd_sub_group_size({size})))")
    needs, local = SHUFFLE.requires(CASE, KNOBS), SHUFFLE.grid(CASE, KNOBS)[1]
    variant = Variant(0, local, local, needs.features, needs.local_bytes)
    found = excess(built, variant, queue.device, limits_of(queue.device))
    assert found == ("" if size >= 16 else "has sub-groups of 8 items here, its shuffles need 16")


def test_by_the_names_of_qualcomm(queue: Any) -> None:
    if "cl_intel_subgroups" not in queue.device.extensions:
        pytest.skip("nothing here can stand for them")
    check_text(queue, QUALCOMM)


@pytest.mark.parametrize("model", MODELS)
def test_each_line_of_keys_and_values_is_read_once(queue: Any, model: str) -> None:
    """By one K/V head's work-group, whether heads share registers or stand side by side."""
    H, G, K = MODELS[model]
    case = Heads(H=H, G=G, K=K, **STORED, at=ONE)
    kernels = [each for each in (SHUFFLE, HALF) if each.supports(case) is None]
    assert kernels
    for kernel in kernels:
        check_lines(queue, kernel, case)


def check_lines(queue: Any, kernel: Kernel, case: Heads) -> None:
    """Of waves of 64."""
    knobs = default_knobs(kernel, "adreno")
    skip_without(queue, kernel.requires(case, knobs).features)
    skip_without_recorder(queue)
    loads = traced_loads(queue, family_of(kernel.name), kernel, case, knobs)
    for name in ("k_state", "v_state"):
        covered, asked = len(loads[name].covered()), loads[name].lines(64)
        assert covered * LINE >= 2 * case.G * case.C * case.K
        assert asked == covered, (kernel.name, name)


def test_heads_that_registers_do_not_hold_are_left_to_others() -> None:
    assert fits_registers(Heads(M=1, H=71, G=1, K=64))
    assert fits_registers(Heads(M=1, H=128, G=1, K=576, V=512))
    assert fits_registers(Heads(M=1, H=1, G=1, K=2048))
    assert fits_registers(Heads(M=1, H=16, G=1, K=128)) is None
