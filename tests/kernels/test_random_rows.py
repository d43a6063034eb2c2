"""Top-k of groups of a row at random sizes, against numpy, with ties and guard bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from opencl_kernels import KERNELS, family_of
from opencl_kernels.family import random_inputs
from opencl_kernels.launch import GUARD, launch
from opencl_kernels.map.indexed import floats
from opencl_kernels.rows.rows import SOFTMAX
from opencl_kernels.scan.groups import Groups
from opencl_kernels.scan.topk import SHORT, TopK
from opencl_kernels.tuned import default_knobs


def random_case(dice: np.random.Generator) -> TopK:
    """Groups, statistics and few different elements as the coin falls."""
    count = int(dice.integers(1, 17))
    size, rows = count * int(dice.integers(1, SHORT // count + 1)), int(dice.integers(1, 70))
    kept, best = int(dice.integers(1, count + 1)), int(dice.integers(1, size // count + 1))
    x, tied = f"a0[{size}*i0 + i1]", bool(dice.integers(2))
    return TopK(
        axes=(rows, size),
        x=f"Round(2.0 * {x})" if tied else x,
        k=int(dice.integers(1, size + 1)),
        inputs=floats(rows * size),
        by=SOFTMAX if not tied and dice.integers(2) else None,
        groups=Groups(count, best, kept, str(dice.choice(["0.0", "-7.5"]))),
    )


@pytest.mark.parametrize("device_class", ["cpu", "generic"])
@pytest.mark.parametrize("seed", range(6))
def test_groups_of_any_size(queue: Any, device_class: str, seed: int) -> None:
    dice = np.random.default_rng(seed)
    family, kernel, case = family_of("topk_short"), KERNELS["topk_short"], random_case(dice)
    inputs = random_inputs(family, case, dice)
    outputs, guard = launch(
        queue, family, kernel, inputs, case, default_knobs(kernel, device_class)
    )
    expected = family.reference(inputs, case)
    np.testing.assert_array_equal(outputs["indices"], expected["indices"], err_msg=str(case))
    np.testing.assert_allclose(outputs["y"], expected["y"], rtol=1e-5, atol=1e-7)
    assert (guard == GUARD).all()
