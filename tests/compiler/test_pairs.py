"""Products that share a launch: whenever two do, memory ends up the same."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drafts import Memory, run

from opencl_kernels import FAMILIES
from opencl_kernels.case import symbols_of_texts
from opencl_kernels.device_class import CLASSES
from opencl_kernels.layouts import F16, Stored, quantized
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from toolkit.compiler.lowering.drafts import Draft
from toolkit.compiler.lowering.products.pairs import with_pairs
from toolkit.compiler.lowering.variants import Settings
from toolkit.plan.schema import HostStep, Ref

SIZE = 7
PLAIN = Product(M=1, N=SIZE, K=SIZE)
NORMED = replace(PLAIN, norm=Norm(1e-3))
PART = replace(PLAIN, K=3, X0=2, LDX=SIZE)
GPU = Settings(CLASSES["generic"], symbols_of_texts(1), 1, 64, "f32", "f32", 8, 32768)
LARGE = replace(PLAIN, N=4096, K=4096, w=quantized("e0m4", 32, "f16"))


def product_of(name: str, reads: int, writes: int, case: Product = PLAIN) -> Draft:
    """y = x W^T of places in memory; matrix and scale are the same for all."""
    refs: dict[str, Ref] = {"x": ("scratch", reads), "y": ("scratch", writes)}
    refs |= {"w": ("weight", case.K)} | ({"gamma": ("weight", 0)} if case.norm else {})
    return Draft(name, "gemv", case, refs)


def names(*drafts: Draft | HostStep) -> list[str]:
    return [getattr(each, "name", "a host step") for each in with_pairs(drafts, GPU)]


@pytest.mark.parametrize("seed", range(20))
def test_memory_ends_up_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = PLAIN, NORMED, PART
    drafts = [
        product_of(f"{i}", *rng.choice(5, 2, replace=False).tolist(), cases[rng.integers(3)])
        for i in range(9)
    ]
    memory: Memory = {("scratch", i): rng.standard_normal((1, SIZE)) for i in range(5)}
    memory |= {("weight", k): rng.standard_normal((1, k, 16)) for k in (3, SIZE)}
    memory[("weight", 0)] = rng.standard_normal(SIZE)
    joined = with_pairs(drafts, GPU)
    before, after = run(drafts, memory), run(joined, memory)
    for place, array in before.items():
        np.testing.assert_allclose(after[place], array)
    made = [name for each in joined for name in getattr(each, "name", "").split(" + ")]
    assert made == [each.name for each in drafts]


def test_two_share_a_launch() -> None:
    """Each with its own row, or part of one, and its own sizes."""
    a, b, c = product_of("a", 0, 1), product_of("b", 0, 2, PART), product_of("c", 3, 4)
    assert names(a, b) == ["a + b"] and names(a, b, c) == ["a + b", "c"]
    assert names(a, HostStep("fetch", ()), b) == ["a", "a host step", "b"]
    assert names(a, product_of("b", 1, 2)) == ["a", "b"]  # which reads what the first one writes
    assert names(a, product_of("b", 2, 0)) == ["a", "b"]  # or writes what it reads
    assert names(a, product_of("b", 0, 2)) == ["a", "b"]  # of the same row
    assert names(a, replace(b, family="gemm")) == ["a", "b"]


@pytest.mark.parametrize(
    "other",
    [
        {"norm": Norm(1e-3)},
        {"y": "f16"},
        {"M": 2},
        {"bias": True},
        {"epilogue": "v * 0.5"},
        {"residual": True},
        {"glu": Glu(3)},
        {"LDY": 9},
    ],
)
def test_products_that_begin_or_end_otherwise_do_not(other: dict[str, Any]) -> None:
    one, two = product_of("a", 0, 1), product_of("b", 3, 2)
    assert names(one, two) == ["a + b"]
    changed = replace(two, case=replace(PLAIN, **other))
    changed = replace(changed, refs={each.name: ("weight", 9) for each in changed.arguments})
    assert names(one, changed) == ["a", "b"] and names(changed, one) == ["b", "a"]


@pytest.mark.parametrize(
    ("few", "stored", "device_class", "share"),
    [
        (32, LARGE.w, "generic", False),  # runs of 1 instead of 4 words
        (64, LARGE.w, "generic", False),
        (127, LARGE.w, "generic", True),  # of 2
        (32, F16, "generic", True),  # floats have no runs
        (32, LARGE.w, "cpu", True),  # nor have processors
        (32, LARGE.w, "adreno", True),  # of 1 for all products
        (32, LARGE.w, "mali", False),
        (63, LARGE.w, "mali", True),  # fewer slices
    ],
)
def test_a_small_one_does_not_shorten_the_runs_of_a_large_one(
    few: int, stored: Stored, device_class: str, share: bool
) -> None:
    large = replace(LARGE, w=stored, x="f16")
    drafts = [
        Draft(name, "gemv", case, {a.name: ("scratch", i, j) for j, a in enumerate(each)})
        for i, (name, case) in enumerate((("a", large), ("b", replace(large, N=64, K=few))))
        for each in [FAMILIES["gemv"].arguments(case)]
    ]
    settings = replace(GPU, device_class=CLASSES[device_class])
    for order in (drafts, drafts[::-1]):
        assert len(with_pairs(order, settings)) == (1 if share else 2)
