"""The three launches of the sampler choose the ids of one, whatever is asked and whatever comes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sampler import SlicedSampler

from opencl_kernels.case import At
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import Array
from opencl_kernels.sampling import sample, slices
from opencl_kernels.sampling.sample import Choice
from opencl_kernels.sampling.slices_reference import bins_of, histogram_of, masses_of

SEED = int(os.environ.get("POCKETCL_SEED", "0"))
Logits = Callable[[np.random.Generator, tuple[int, ...]], Array]
KINDS: dict[str, Logits] = {
    "normal": lambda rng, shape: rng.standard_normal(shape) * 3,
    "steep": lambda rng, shape: rng.standard_normal(shape) * 40,
    "flat": lambda rng, shape: rng.integers(-3, 4, shape) * 1e-2,  # all in one bin, or two
    "equal": lambda rng, shape: np.zeros(shape),
    "ties": lambda rng, shape: rng.integers(-2, 3, shape),
    "some minus infinity": lambda rng, shape: np.where(
        rng.random(shape) < 0.5, -np.inf, rng.standard_normal(shape)
    ),
}
SIZES = (
    Choice(M=1, V=1, C=8, at=At(past=3)),
    Choice(M=1, V=37, C=8, GROUPS=5, at=At(seq=4, past=3)),
    Choice(M=4, V=513, C=30, GROUPS=3, B=2, at=At(seq=2, past=20, rows=2, start=(0, 4))),
    Choice(M=1, V=5003, C=90, GROUPS=7, at=At(past=80)),
    Choice(M=1, V=32003, C=9, GROUPS=64, at=At(past=3)),
)


def random_options(rng: np.random.Generator) -> dict[str, float]:
    """Some of all that may be asked for."""
    every: dict[str, float] = {
        "temperature": float(rng.choice([0.0, 0.1, 0.7, 1.0, 1.5, 100.0])),
        "top_k": int(rng.choice([0, 1, 2, 5, 40, 256, 300, 10**6])),
        "top_p": float(rng.choice([0.0, 0.01, 0.5, 0.9, 0.999, 1.0])),
        "min_p": float(rng.choice([0.0, 0.001, 0.05, 0.5, 1.0])),
        "repetition_penalty": float(rng.choice([0.5, 1.0, 1.3])),
        "presence_penalty": float(rng.choice([0.0, 2.0])),
        "frequency_penalty": float(rng.choice([-1.5, 0.0, 0.25])),
        "window": int(rng.choice([0, 1, 3, 50])),
        "logprobs": int(rng.choice([0, 1])),
    }
    asked = {name: value for name, value in every.items() if rng.random() < 0.6}
    return asked | {"seed": int(rng.integers(2**63))}


@pytest.fixture(scope="module", params=SIZES, ids=lambda case: f"V{case.V}")
def sampler(request: pytest.FixtureRequest, queue: Any) -> tuple[SlicedSampler, Choice]:
    return SlicedSampler(queue, request.param), request.param


@pytest.mark.parametrize("kind", KINDS)
def test_any_options_on_any_logits(sampler: tuple[SlicedSampler, Choice], kind: str) -> None:
    launches, sized = sampler
    rng = np.random.default_rng([SEED, sized.V, len(kind)])
    for _ in range(6):
        case = replace(sized, last_rows=True, options=random_options(rng))
        inputs = random_inputs(sample.FAMILY, case, rng)
        inputs["logits"] = KINDS[kind](rng, inputs["logits"].shape).astype(np.float32)
        inputs["logits"].reshape(-1, case.V)[:, rng.integers(case.V)] = 0.5  # one is a number
        expected = sample.reference(inputs, case)

        found = launches.run(case, inputs)

        for name in ("tokens", "ids", "sym"):
            np.testing.assert_array_equal(found[name], expected[name], f"{name}: {case.options}")
        np.testing.assert_allclose(found["logprobs"], expected["logprobs"], rtol=1e-4, atol=1e-5)


def test_sums_are_those_of_the_weights(queue: Any) -> None:
    """To the last bit, in any order: by bins and by slices."""
    case = replace(SIZES[2], last_rows=True, options={"temperature": 0.9, "logprobs": 1})
    inputs = random_inputs(sample.FAMILY, case, np.random.default_rng(1))
    found = SlicedSampler(queue, case).run(case, inputs)
    for b in range(case.B):
        weights = found["weights"][b]
        np.testing.assert_array_equal(found["histogram"][b], histogram_of(weights))
        np.testing.assert_array_equal(found["masses"][b, :, :2], masses_of(weights, case))
        low, high = found["masses"][b, :, 2:].astype(np.int64).sum(0)
        own = sample.weights(inputs["logits"].reshape(case.B, -1, case.V)[b, -1]).sum()
        assert abs((low + (high << 32)) / float(own) - 1) < 1e-6


def test_every_weight_has_a_bin_and_bins_ascend() -> None:
    edges = 2 ** np.arange(31)
    weights = np.unique(np.concatenate([np.arange(1, 2000), edges, edges - 1, edges + 1]))
    weights = weights[(weights > 0) & (weights <= 2**30)]
    bins = bins_of(weights)
    assert bins.min() == 0 and bins.max() < slices.BINS and (np.diff(bins) >= 0).all()


def test_the_vocabulary_is_read_three_times_at_most() -> None:
    """Whatever is asked; the numbers are what the launches say that they move."""
    for case in slices.BENCH_CASES:
        moved = sum(family.work(case)[0] for family in slices.LAUNCHES)
        written = bool(case.options) * 4 * case.V  # the weights
        small = 4 * (3 * slices.BINS + 7 * case.GROUPS)
        assert moved - written - small <= 3 * 4 * case.V


@pytest.mark.parametrize("units, groups", [(1, 4), (6, 24), (12, 48), (64, 64)])
def test_slices_of_a_vocabulary(units: int, groups: int) -> None:
    assert slices.groups_of(256000, units) == groups
    assert slices.groups_of(100, units) == 1


def test_a_device_with_little_local_memory_takes_one_launch() -> None:
    case = slices.BENCH_CASES[0]
    assert slices.fits(case, "generic", 32768) and not slices.fits(case, "mali", 8000)
