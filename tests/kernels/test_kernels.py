"""Every kernel over its cases and knobs against its numpy reference, with guard bytes."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from opencl_kernels import KERNELS, Kernel, default_knobs
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Case, Knobs, case_id, random_inputs, symbols
from opencl_kernels.launch import GUARD, built_kernel, launch_built, local_memory

SEED = int(os.environ.get("POCKETCL_SEED", "0"))  # other random inputs for every case
KNOB_CASES = 2  # cases that also run with every other value of each knob


def every_case() -> Iterator[Any]:
    """All cases at default knobs; the first few of each kernel also at every other knob value."""
    for kernel in KERNELS.values():
        for index, case in enumerate(kernel.cases):
            for knobs in [default_knobs(kernel), *other_knobs(kernel, index)]:
                label = "_".join(f"{name}{value}" for name, value in knobs.items())
                yield pytest.param(kernel, case, knobs, id=f"{kernel.name}-{case_id(case)}-{label}")


def other_knobs(kernel: Kernel, index: int) -> Iterator[Knobs]:
    """Each knob in turn at its other values, for the last few (larger) cases."""
    if index < len(kernel.cases) - KNOB_CASES:
        return
    for name, values in kernel.knobs.items():
        for value in values[1:]:
            yield {**default_knobs(kernel), name: value}


def nmse(actual: Array, expected: Array) -> float:
    """Squared error over the squared size of what was expected."""
    error = float(np.sum((actual.astype(np.float64) - expected) ** 2))
    return error / max(float(np.sum(expected.astype(np.float64) ** 2)), 1e-30)


def check(kernel: Kernel, case: Case, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
    """Outputs equal the reference; every other buffer is untouched."""
    expected = kernel.reference(inputs, case)
    inputs = {**inputs, "sym": symbols(case)}
    for name, value in outputs.items():
        if name not in expected:
            if name in inputs:
                assert value.tobytes() == inputs[name].tobytes(), f"{name} was changed"
        elif value.dtype.kind == "i":
            np.testing.assert_array_equal(value, expected[name])
        else:
            assert np.isfinite(value).all(), f"{name} has elements that are not finite"
            bar = 1e-6 if value.dtype == np.float16 else 1e-10
            assert nmse(value, expected[name]) < bar, name


@pytest.mark.parametrize(("kernel", "case", "knobs"), list(every_case()))
def test_kernel_equals_numpy(queue: Any, kernel: Kernel, case: Case, knobs: Knobs) -> None:
    seed = SEED ^ zlib.crc32(f"{kernel.name}{case_id(case)}".encode())
    inputs = random_inputs(kernel, case, np.random.default_rng(seed))

    built = built_kernel(queue, kernel, case, knobs)
    outputs, guard = launch_built(queue, built, kernel, inputs, case, knobs)

    assert (guard == GUARD).all(), f"{kernel.name} wrote past the end of a buffer"
    check(kernel, case, inputs, outputs)
    assert local_memory(queue, built) == kernel.local_bytes(case, knobs)
