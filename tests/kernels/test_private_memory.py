"""Kernels of GPUs keep what they work on in registers: nothing stays in private memory."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from clang_ir import memory_of, needs_clang
from real_shapes import WEIGHTS, Launch, distinct, of_gpus

from opencl_kernels.attention.heads import Heads
from opencl_kernels.tuned import default_knobs

HEADS = ("ChatGLM2 6B", "Falcon 7B", "Llama 3.2 1B", "Qwen2.5 1.5B", "DeepSeek V3")
OF_ONE = "Gemma 2B"  # whose products and rows stand for all in the quick test

pytestmark = needs_clang


def faults(launches: Iterable[Launch]) -> list[str]:
    """Launches with private memory, or other local memory than they say."""
    with ThreadPoolExecutor(2) as pool:  # each waits for a compiler
        return [fault for fault in pool.map(_fault, launches) if fault]


def _fault(launch: Launch) -> str:
    kernel, case, knobs = launch
    found, said = memory_of(kernel, case, knobs), kernel.requires(case, knobs).local_bytes
    wrong = found.private or found.local_bytes != said
    return f"{kernel.name} {case} {knobs}: {found}, {said} bytes said" if wrong else ""


def test_kernels_of_a_real_model_have_no_private_memory() -> None:
    """And take the local memory that they require; kernels that it has none of are another's."""
    own = list(distinct([OF_ONE], ["f16"], ["e0m4"]))
    names = {launch.kernel.name for launch in own}
    others = distinct([OF_ONE, *HEADS], ["f16"])
    launches = [*own, *(each for each in others if each.kernel.name not in names)]
    assert {launch.kernel.name for launch in launches} == of_gpus()
    assert faults(launches) == []


@pytest.mark.parametrize("model", HEADS)
def test_attention_of_real_models_has_no_private_memory(model: str) -> None:
    launches = distinct([model], ["f16"], ["e0m4"])
    assert faults(each for each in launches if isinstance(each.case, Heads)) == []


@pytest.mark.slow
@pytest.mark.parametrize("weight", WEIGHTS)
def test_no_kernel_of_a_real_model_has_private_memory(weight: str) -> None:
    assert faults(distinct([OF_ONE, *HEADS], weights=[weight])) == []


def test_private_memory_is_seen() -> None:
    """Processors keep a row in private memory, by an index that is known at run time only."""
    each = distinct([OF_ONE], ["f16"], ["e0m4"])
    launch = next(launch for launch in each if launch.kernel.name == "topk_short")
    of_cpu = launch._replace(knobs=default_knobs(launch.kernel, "cpu"))
    assert "alloca [32 x float]" in memory_of(*of_cpu).private
    assert faults([of_cpu]) != []
