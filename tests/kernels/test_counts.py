"""What kernels of phones' GPUs ask for, counted wave by wave, stays under the bars.

The kernels are run by the interpreter of `bench --kernels --count`: that what they leave equals
numpy shows that it counts the right thing.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from clang_ir import needs_clang
from launches import check, is_dropped

from opencl_kernels import FAMILIES, KERNELS, family_of
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At, Case, case_id
from opencl_kernels.family import kernels_for, random_inputs
from opencl_kernels.formats import Array
from opencl_kernels.kernel import nbytes
from opencl_kernels.layouts import F16, Stored, quantized, weight_arguments
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from opencl_kernels.matmul.pair import Pair, Sizes
from opencl_kernels.sampling import sample, slices
from opencl_kernels.sampling.sample import Choice
from opencl_kernels.tuned import default_knobs, usual_knobs
from toolkit.bench.counting.launches import WAVES, Count, count_launch

pytestmark = needs_clang

ROOM = 32768  # bytes of local memory
CODES = quantized("e0m4", 32, "f16", "u8")
WEIGHTS = Product(M=1, N=96, K=2048, x="f16", y="f16", w=CODES)
TILES = Product(M=64, N=64, K=1024, x="f16", y="f16", w=CODES, at=At(seq=64))


def counted(name: str, case: Case, device_class: str) -> Count:
    """A launch at the usual knobs, whose answers are checked."""
    kernel, family = KERNELS[name], family_of(name)
    knobs = usual_knobs(kernel, case, device_class, ROOM)
    assert knobs is not None
    inputs = random_inputs(family, case, np.random.default_rng(zlib.crc32(name.encode())))
    found = count_launch(family, kernel, case, knobs, WAVES[device_class], inputs)
    needs = kernel.requires(case, knobs)
    check(family, case, inputs, dict(found.outputs), in_halves="fp16" in needs.features)
    dropped = found.local_bytes == 0 and is_dropped(case)
    assert found.local_bytes == needs.local_bytes or dropped
    return found


def best(family: str, case: Case, device_class: str) -> str:
    """The kernel that a class prefers."""
    return kernels_for(FAMILIES[family], device_class, case)[0].name


def instructions(found: Count, *cases: Any) -> float:
    """For each product of a weight and an element of x."""
    products = sum(case.M * case.N * case.K for case in cases)
    return found.issued.instructions * found.wave / products


@pytest.mark.parametrize("device_class", WAVES)
@pytest.mark.parametrize(
    "case",
    [
        WEIGHTS,
        replace(WEIGHTS, N=64, K=768),
        replace(WEIGHTS, N=64, K=896),
        replace(WEIGHTS, N=64, K=768, y="f32", glu=Glu(32)),
        replace(WEIGHTS, N=64, K=896, w=quantized("e0m4", 64, "f16")),
        replace(WEIGHTS, N=64, w=quantized("e0m4", 128, "f16", "u8")),
        replace(WEIGHTS, N=64, w=quantized("q8", 32, "f16")),
        replace(WEIGHTS, N=64, w=F16),
        replace(WEIGHTS, norm=Norm(1e-5)),
        replace(WEIGHTS, N=64, K=1024, norm=Norm(1e-5)),
        replace(WEIGHTS, N=2048, K=768, norm=Norm(1e-5)),  # strips enough for two to share a norm
    ],
    ids=case_id,
)
def test_gemv_reads_its_weight_once_in_few_instructions(device_class: str, case: Product) -> None:
    found = counted(best("gemv", case, device_class), case, device_class)
    weight = weight_arguments(case.w, case.N, case.K)
    lines = sum(found.traffic[part.name].read[64] for part in weight)
    assert nbytes(weight) <= 64 * lines <= 1.05 * nbytes(weight)
    assert instructions(found, case) <= 4.5
    assert found.private_bytes == 0


@pytest.mark.parametrize("device_class", WAVES)
def test_two_products_in_a_launch_take_few_instructions_too(device_class: str) -> None:
    """Of DeepSeek's depths; of its outputs as many as let two strips share a norm."""
    products = (Sizes(1024, 1536, 2112), Sizes(1024, 512, 2112, 1536))
    pair = Pair(M=1, products=products, x="f16", y="f16", w=CODES, norm=Norm(1e-6))
    found = counted(best("gemv_pair", pair, device_class), pair, device_class)
    assert instructions(found, *pair.each()) <= 4.5
    assert found.private_bytes == 0


@pytest.mark.parametrize(
    ("group", "K", "norm"),
    [
        *((32, 2048, None), (64, 2048, None), (128, 2048, None), (32, 768, None), (32, 896, None)),
        (32, 4096, Norm(1e-5)),
    ],
)
def test_gemv_in_floats_takes_few_instructions_too(group: int, K: int, norm: Norm | None) -> None:
    """For devices without half arithmetic."""
    case = replace(WEIGHTS, K=K, w=quantized("e0m4", group, "f16", "u8"), norm=norm)
    assert instructions(counted("gemv", case, "generic"), case) <= 4.5


@pytest.mark.parametrize("device_class", WAVES)
@pytest.mark.parametrize(
    ("name", "w", "lanes", "most"),
    [
        ("gemm_half", CODES, 8, 1.6),
        ("gemm_half_q8", quantized("q8", 32, "f16"), 8, 1.5),
        ("gemm_half_f16", F16, 4, 1.0),
    ],
)
def test_each_load_of_a_prefill_gemm_feeds_many_products(
    name: str, w: Stored, lanes: int, most: float, device_class: str
) -> None:
    """Of a work-group whose tiles are whole; so many work-items hold a strip's columns."""
    knobs = default_knobs(KERNELS[name], device_class)
    rows = knobs["WG"] // lanes * knobs["MB"]
    case = replace(TILES, M=rows, K=512, w=w, at=At(seq=rows))
    found = counted(name, case, device_class)
    loads = found.wave * sum(found.issued.loads.values())
    assert 23 * loads <= case.M * case.N * case.K
    assert instructions(found, case) <= most
    assert found.private_bytes == 0


@pytest.mark.parametrize("device_class", WAVES)
@pytest.mark.parametrize("w", [CODES, F16], ids=["e0m4", "f16"])
def test_prefill_in_floats_multiplies_more_than_it_loads(w: Stored, device_class: str) -> None:
    """Of its loads, nearly all are of local memory: a slice is brought there for all items."""
    case = replace(TILES, N=128, K=256, w=w, x="f32", y="f32", glu=Glu(50))
    found = counted("gemm_tiled", case, device_class)
    loads = found.wave * sum(found.issued.loads.values())
    assert (9 if device_class == "mali" else 13) * loads <= case.M * case.N * case.K
    assert instructions(found, case) <= 2.2
    assert found.private_bytes == 0


GEMMA = {"H": 8, "G": 1, "K": 256}
QWEN = {"H": 12, "G": 2, "K": 128, "SPLITS": 3}
LLAMA = {"H": 8, "G": 2, "K": 64}


@pytest.mark.parametrize(
    ("family", "sizes", "device_class", "shuffled"),
    [
        ("attention_decode", GEMMA, "adreno", 1),
        ("attention_split", QWEN, "adreno", 1),
        ("attention_decode", LLAMA, "adreno", 1),
        ("attention_decode", LLAMA, "mali", 1),
        # More than once by waves, but not by work-groups: sixteen work-items of 64 registers can't
        # hold the queries and the sums of all these heads.
        ("attention_decode", GEMMA, "mali", 2),
        ("attention_split", QWEN, "mali", 3),
    ],
)
def test_attention_reads_each_line_of_keys_and_values_once(
    family: str, sizes: dict[str, int], device_class: str, shuffled: int
) -> None:
    """Whichever kernel of the class does it, in waves as wide as it has them."""
    case = Heads(M=1, C=300, SCALE=0.1, x="f16", kv="f16", at=At(seq=1, past=255), **sizes)
    for kernel in kernels_for(FAMILIES[family], device_class, case):
        found = counted(kernel.name, case, device_class)
        once = 256 * case.G * case.K * 2 // 64
        times = shuffled if "shuffle" in kernel.name else 1
        for state in ("k_state", "v_state"):
            assert once <= found.traffic[state].read[64] <= once * times, kernel.name
            assert found.traffic[state].together[64] == once, kernel.name
        assert found.private_bytes == 0, kernel.name


SAMPLED = Choice(M=1, V=8192, C=500, GROUPS=8, last_rows=True, at=At(past=451))
ASKED: dict[str, dict[str, float]] = {
    "top_k": {"top_k": 40},
    "top_p": {"top_p": 0.95},
    "min_p": {"min_p": 0.01},
    "repetition": {"repetition_penalty": 1.1},
    "presence": {"presence_penalty": 0.5, "frequency_penalty": 0.2, "window": 200},
    "logprobs": {"logprobs": 1},
}
TOGETHER = [(), *(each for n in range(1, 7) for each in combinations(ASKED, n))]


def passes(case: Choice, scale: float) -> dict[str, float]:
    """How often all launches read what is as long as the vocabulary; their ids are checked."""
    held: dict[str, Array] = random_inputs(sample.FAMILY, case, np.random.default_rng(3))
    held["logits"] *= scale
    expected, lines = sample.reference(held, case), {"logits": 0, "weights": 0}
    for family in slices.LAUNCHES:
        (kernel,) = family.kernels
        knobs = usual_knobs(kernel, case, "mali", ROOM)
        assert knobs is not None
        given = {a.name: held[a.name] for a in family.arguments(case) if a.role != "out"}
        found = count_launch(family, kernel, case, knobs, WAVES["mali"], given)
        held |= found.outputs
        assert found.private_bytes == 0 and found.local_bytes <= 24576
        long = {a.name for a in family.arguments(case) if np.prod(a.shape) >= case.V}
        assert long <= {*lines}
        for name in long & {*found.traffic}:
            lines[name] += found.traffic[name].read[64]
    assert all((held[name] == expected[name]).all() for name in ("tokens", "ids", "sym"))
    return {name: each / (case.V * 4 / 64) for name, each in lines.items()}


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(each, marks=(pytest.mark.slow,) if 1 <= len(each) < 6 else ())
        for each in TOGETHER
    ],
    ids="-".join,
)
def test_sampling_passes_over_the_vocabulary_three_times_at_most(asked: tuple[str, ...]) -> None:
    """Over logits and weights together; nothing else is as long. Whatever is asked for."""
    options = {name: value for each in asked for name, value in ASKED[each].items()}
    found = passes(replace(SAMPLED, options={**options, "temperature": 1.0}), 3)
    # A part of the ids may begin in a line in which the one before ends.
    assert found["logits"] + found["weights"] <= 3.05


def test_the_likeliest_id_takes_one_pass_and_its_logprob_another() -> None:
    for asked in ((), ASKED["repetition"], ASKED["presence"] | ASKED["logprobs"]):
        found = passes(replace(SAMPLED, options={**asked} if asked else {}), 3)
        assert found["weights"] == 0 and found["logits"] <= (2.01 if "logprobs" in asked else 1)


@pytest.mark.parametrize(
    "asked",
    [
        {"top_p": 0.9},
        pytest.param({"top_k": 40}, marks=pytest.mark.slow),
        pytest.param({"min_p": 0.9999}, marks=pytest.mark.slow),
    ],
)
def test_a_bin_of_many_weights_costs_few_passes_more(asked: dict[str, float]) -> None:
    """All logits are within 3 %: the bin is parted before its weights are listed."""
    found = passes(replace(SAMPLED, options={**asked, "temperature": 0.8}), 0.003)
    assert found["logits"] + found["weights"] <= 4.3


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_case_equals_numpy(family: str) -> None:
    """So the interpreter runs whatever kernels of GPUs are made of."""
    done = set()
    for device_class in WAVES:
        for case in FAMILIES[family].cases:
            for kernel in kernels_for(FAMILIES[family], device_class, case):
                knobs = usual_knobs(kernel, case, device_class, ROOM) or {}
                launched = (kernel.name, case_id(case), *knobs.values())
                if 0 not in getattr(case, "axes", ()) and launched not in done:
                    done.add(launched)
                    counted(kernel.name, case, device_class)
