"""A launch in pieces, as runners cut those that take long, leaves every bit as a whole one does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from launches import can_run

from opencl_kernels import FAMILIES, Family, Kernel
from opencl_kernels.family import random_inputs
from opencl_kernels.launch import built_kernel, launch_built
from opencl_kernels.tuned import default_knobs

CUT = [(f, k) for f in FAMILIES.values() for k in f.kernels if k.cuts is not None]
LARGEST = [2, pytest.param(6, marks=pytest.mark.slow)]  # cases: of most work-groups on the axis


def groups(kernel: Kernel, case: Any) -> int:
    size, local = kernel.grid(case, default_knobs(kernel, "generic"))
    axis = kernel.cuts or 0
    return int(size[axis]) // int(local[axis])


def in_pieces(built: Any, axis: int, count: int) -> Any:
    """Launches a kernel in so many pieces, the last one first."""

    def run(queue: Any, size: tuple[int, ...], local: tuple[int, ...], *buffers: Any) -> None:
        ends = np.arange(count + 1) * (size[axis] // local[axis]) // count * local[axis]
        for begin, end in reversed(list(pairwise(ends))):
            piece, offset = list(size), [0] * len(size)
            piece[axis], offset[axis] = int(end - begin), int(begin)
            built(queue, tuple(piece), local, *buffers, global_offset=tuple(offset))

    return run


@pytest.mark.parametrize("count", LARGEST)
@pytest.mark.parametrize("family, kernel", CUT, ids=lambda value: value.name)
def test_pieces_leave_the_same_bits(queue: Any, family: Family, kernel: Kernel, count: int) -> None:
    knobs = default_knobs(kernel, "generic")
    cases = [each for each in family.cases if kernel.supports(each) is None]
    cases = can_run(queue, [(each, kernel.requires(each, knobs).features) for each in cases])
    for case in sorted(cases, key=lambda each: -groups(kernel, each))[:count]:
        inputs = random_inputs(family, case, np.random.default_rng(7))
        built = built_kernel(queue, kernel, case, knobs)
        whole, _ = launch_built(queue, built, family, kernel, inputs, case, knobs)
        for pieces in {min(3, groups(kernel, case)), groups(kernel, case)}:
            cut = in_pieces(built, kernel.cuts or 0, pieces)
            found, _ = launch_built(queue, cut, family, kernel, inputs, case, knobs)
            for name, value in whole.items():
                assert found[name].tobytes() == value.tobytes(), (name, case, pieces)


def test_cases_have_pieces() -> None:
    for family, kernel in CUT:
        cases = [each for each in family.cases if kernel.supports(each) is None]
        assert max(groups(kernel, each) for each in cases) > 1, kernel.name
