"""Products with quantized weights at random sizes, groups, storage and options, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from opencl_kernels import KERNELS, family_of
from opencl_kernels.embedding.embed import Lookup
from opencl_kernels.experts.chosen import Chosen
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import GROUPS
from opencl_kernels.launch import GUARD, launch
from opencl_kernels.layouts import ZEROS, Stored, quantized
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from opencl_kernels.matmul.pair import Pair, Sizes
from opencl_kernels.tuned import default_knobs

NAMES = (
    *("gemm_cpu", "gemv_quantized_cpu", "gemm", "gemm_tiled", "gemv", "embed"),
    *("experts", "experts_quantized_cpu", "gemv_pair", "gemv_pair_quantized_cpu"),
)


def random_case(name: str, rng: np.random.Generator) -> Product | Lookup | Chosen | Pair:
    """A case of the kernel; GLU, bias, residual and norm as the coin falls."""
    K, rows = int(rng.integers(1, 700)), int(rng.choice([1, 2, 7, 15, 16, 17, 63, 65]))
    weight = random_weight(rng)
    if name == "embed":
        return Lookup(M=rows, V=int(rng.integers(1, 150)), D=K, w=weight)
    columns, gated = int(rng.integers(1, 150)), bool(rng.integers(2))
    if "experts" in name:
        choices, experts = int(rng.integers(1, 5)), int(rng.integers(1, 7))
        return Chosen(
            M=int(rng.integers(1, 6)),
            choices=choices,
            always=int(rng.integers(min(choices - 1, experts) + 1)),
            E=experts,
            N=2 * -(-columns // 16) * 16 if gated else columns,
            K=K,
            shared=bool(rng.integers(2)),
            w=weight,
            glu=Glu(columns) if gated else None,
            bias=bool(rng.integers(2)),
        )
    norm = Norm(1e-5) if "gemv" in name and rng.integers(2) else None
    if "pair" in name:
        first, width, other = map(int, rng.integers(1, 150, 3))
        row = first + K
        products = Sizes(columns, K, row, first), Sizes(other, width, row, (row - width) // 2)
        return Pair(M=1, products=products, w=weight, norm=norm, bias=bool(rng.integers(2)))
    return Product(
        M=1 if "gemv" in name else rows,
        N=2 * -(-columns // 16) * 16 if gated else columns,
        K=K,
        w=weight,
        glu=Glu(columns) if gated else None,
        bias=bool(rng.integers(2)),
        residual=not gated and bool(rng.integers(2)),
        norm=norm,
        keeps_norm=norm is not None and bool(rng.integers(2)),
        sum_eps=1e-3 if "gemv" in name and rng.integers(2) else None,
    )


def random_weight(rng: np.random.Generator) -> Stored:
    dtype, group = str(rng.choice(["e0m4", "q8"])), int(rng.choice(GROUPS))
    return quantized(dtype, group, str(rng.choice(["f32", "f16"])), str(rng.choice(ZEROS)))


@pytest.mark.parametrize(
    "seed", [pytest.param(each, marks=() if each < 2 else pytest.mark.slow) for each in range(4)]
)
@pytest.mark.parametrize("name", NAMES)
def test_quantized_products_equal_numpy_at_any_size(queue: Any, name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, len(name), sum(map(ord, name))])
    family, kernel, case = family_of(name), KERNELS[name], random_case(name, rng)
    inputs, knobs = random_inputs(family, case, rng), default_knobs(kernel, kernel.classes[0])
    outputs, guard = launch(queue, family, kernel, inputs, case, knobs)
    for output, expected in family.reference(inputs, case).items():
        error = np.sum((outputs[output] - expected) ** 2) / max(np.sum(expected**2), 1e-30)
        assert error < 1e-9, (output, case)
    assert (guard == GUARD).all(), case
