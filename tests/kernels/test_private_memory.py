"""Kernels of GPUs keep what they work on in registers: nothing stays in private memory."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clang_ir import memory_of, needs_clang
from real_shapes import ROOM, SHAPES, VALUES, WEIGHTS, Launch, distinct, of_gpus
from registers import carried

from opencl_kernels import KERNELS
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At
from opencl_kernels.tuned import default_knobs, usual_knobs

HEADS = ("ChatGLM2 6B", "Falcon 7B", "Llama 3.2 1B", "Qwen2.5 1.5B", "DeepSeek V3")
WIDE_AND_ODD = ("ChatGLM2 6B", "DeepSeek V3")  # the quick test: many heads on one, and latent ones
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


@pytest.mark.slow
def test_kernels_of_a_real_model_have_no_private_memory() -> None:
    """And take the local memory that they require; kernels that it has none of are another's."""
    own = list(distinct([OF_ONE], ["f16"], ["e0m4"]))
    names = {launch.kernel.name for launch in own}
    others = distinct([OF_ONE, *HEADS], ["f16"])
    launches = [*own, *(each for each in others if each.kernel.name not in names)]
    assert {launch.kernel.name for launch in launches} == of_gpus()
    assert faults(launches) == []


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(each, marks=() if each in WIDE_AND_ODD else (pytest.mark.slow,))
        for each in HEADS
    ],
)
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


SHUFFLE = KERNELS["attention_decode_shuffle"]
# Registers, of the 64 that Malis have; a key and a value in flight take eight more, or sixteen.
# Held where they stand are heads of 256: fewer heads at once would have keys read again, which is
# more lines than registers that a compiler reloads.
CARRIED = {
    **dict.fromkeys(("Llama 3.2 1B", "Qwen2.5 0.5B", "Qwen2.5 1.5B", "ChatGLM2 6B"), 50),
    **{"Mistral 7B": 50, "Phi-3 mini": 30, "DeepSeek V3": 39, "Gemma 2 2B": 80, "Gemma 2B": 153},
}


def of_one_token(model: str) -> Heads:
    H, G, K, *_ = SHAPES[model]
    halves: dict[str, Any] = {"x": "f16", "y": "f16", "kv": "f16"}
    V = VALUES.get(model, 0)
    return Heads(M=1, H=H, G=G, K=K, V=V, C=4096, SCALE=0.1, at=At(past=99), **halves)


@pytest.mark.parametrize(("model", "most"), CARRIED.items())
def test_attention_of_one_token_needs_no_more_registers_than_malis_have(
    model: str, most: int
) -> None:
    """By what its loop over keys carries: no compiler can do with less."""
    case = of_one_token(model)
    knobs = usual_knobs(SHUFFLE, case, "mali", ROOM)
    assert knobs is not None and SHUFFLE.supports(case) is None
    assert carried(SHUFFLE, case, knobs) <= most


def test_carried_registers_are_seen() -> None:
    """Adreno has more of them; so a work-item takes all heads of a key."""
    case = of_one_token("Qwen2.5 1.5B")
    knobs = default_knobs(SHUFFLE, "adreno")
    assert 2 * 6 * 8 <= carried(SHUFFLE, case, knobs) <= 2 * 6 * 8 + 30
