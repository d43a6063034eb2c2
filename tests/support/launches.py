"""Kernels launched outside a plan: where, on which cases, and what must hold of each launch."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import product
from typing import Any

import numpy as np
import pytest
from needed import absent

from opencl_kernels import FAMILIES, Family, Kernel
from opencl_kernels.case import Case, case_id, symbols
from opencl_kernels.device_class import CLASSES
from opencl_kernels.family import kernels_for, random_inputs
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Knobs
from opencl_kernels.launch import GUARD, built_kernel, launch_built, local_memory
from opencl_kernels.tuned import default_knobs, values_of
from toolkit.devices.features import device_features
from toolkit.errors import PocketError

SEED = int(os.environ.get("POCKETCL_SEED", "0"))  # other random inputs for every case
# The last so many cases of a family also run with every other value of each knob. CI takes one
# where it compiles for speed, which takes ten times as long.
LARGE = int(os.environ.get("POCKETCL_KNOB_CASES", "2"))
QUICK = 3  # cases of a kernel of GPUs; of one of processors, and of its others each second
OURS = tuple(CLASSES)  # not those that tests add


@pytest.fixture(scope="session")
def queue() -> Iterator[Any]:
    """A queue on the device that POCKETCL_PLATFORM names, else on the newest PoCL."""
    pytest.importorskip("pyopencl")
    from opencl_kernels.launch import open_queue
    from toolkit.executors.opencl.device_choice import choose_device

    with ExitStack() as stack:
        try:
            queue = stack.enter_context(open_queue(choose_device()))
        except PocketError as error:
            absent(f"no OpenCL device: {error}")
        yield queue


def every_case(classes: Iterable[str] = CLASSES) -> Iterator[Any]:
    """Each case of a family on the kernels that each class has for it, at the class's knobs.

    A kernel's last few (larger) cases run at every other value of each knob too, as slow tests.
    So are all but the first few cases of kernels that are no processor's first choice, and half of
    the others': .ci/run has them all, on Intel's runtime or optimised. What two classes launch
    alike is launched once.
    """
    seen = set()
    for family, device_class in product(FAMILIES.values(), classes):
        ours = device_class in OURS
        for kernel in kernels_for(family, device_class):
            cases = [case for case in family.cases if kernel.supports(case) is None]
            for index, case in enumerate(cases):
                each = knobs_of(kernel, device_class, index >= len(cases) - LARGE)
                for number, knobs in enumerate(each):
                    label = "_".join(f"{name}{value}" for name, value in knobs.items())
                    name = f"{kernel.name}-{case_id(case)}-{label}"
                    if name not in seen:
                        seen.add(name)
                        late = index >= QUICK and ("cpu" not in kernel.classes or index % 2)
                        slow = number or (late and ours)
                        marks = (pytest.mark.slow,) if slow else ()
                        yield pytest.param(family, kernel, case, knobs, id=name, marks=marks)


def knobs_of(kernel: Kernel, device_class: str, others: bool) -> Iterator[Knobs]:
    """The class's defaults, then each knob in turn at its other values."""
    usual = default_knobs(kernel, device_class)
    yield usual
    for name in usual if others else ():
        for value in values_of(kernel, name, device_class)[1:]:
            yield {**usual, name: value}


def nmse(actual: Array, expected: Array) -> float:
    """Squared error over the squared size of what was expected."""
    error = float(np.sum((actual.astype(np.float64) - expected) ** 2))
    return error / max(float(np.sum(expected.astype(np.float64) ** 2)), 1e-30)


ROUNDED = {"sample_weights"}  # families whose integers are what devices make of exponentials


def check(
    family: Family,
    case: Case,
    inputs: dict[str, Array],
    outputs: dict[str, Array],
    in_halves: bool = False,
) -> None:
    """Outputs equal the reference, as well as halves can; every other buffer is untouched."""
    expected = family.reference(inputs, case)
    inputs = {**inputs, "sym": symbols(case)}
    for name, value in outputs.items():
        if name not in expected:
            if name in inputs:
                assert value.tobytes() == inputs[name].tobytes(), f"{name} was changed"
        elif value.dtype.kind in "iu" and family.name not in ROUNDED:
            np.testing.assert_array_equal(value, expected[name])
        else:
            assert np.isfinite(value).all(), f"{name} has elements that are not finite"
            bar = 1e-6 if in_halves or value.dtype == np.float16 else 1e-10
            assert nmse(value, expected[name]) < bar, name


def check_launch(queue: Any, family: Family, kernel: Kernel, case: Case, knobs: Knobs) -> None:
    """A kernel computes what its family says, inside its buffers, in the memory it asked for."""
    needs = kernel.requires(case, knobs)
    seed = SEED ^ zlib.crc32(f"{kernel.name}{case_id(case)}".encode())
    inputs = random_inputs(family, case, np.random.default_rng(seed))

    built = built_kernel(queue, kernel, case, knobs)
    outputs, guard = launch_built(queue, built, family, kernel, inputs, case, knobs)

    assert (guard == GUARD).all(), f"{kernel.name} wrote past the end of a buffer"
    check(family, case, inputs, outputs, in_halves="fp16" in needs.features)
    taken = local_memory(queue, built)
    assert taken == needs.local_bytes or (taken == 0 and is_dropped(case))


def is_dropped(case: Any) -> bool:
    """Whether compilers find that nobody reads a kernel's sums, or fills them in several turns."""
    axes, ending = getattr(case, "axes", ()), getattr(case, "epilogue", "")
    return 0 in axes or axes[-1:] == (1,) or (ending != "" and not re.search(r"\bv\b", ending))


def skip_without(queue: Any, features: Iterable[str]) -> None:
    """Skip a test on a device that lacks what its kernel requires."""
    if missing := lacking(queue, features):
        pytest.skip(f"{queue.device.name.strip()} has no {' and no '.join(missing)}")


def can_run(queue: Any, cases: Iterable[tuple[Case, Iterable[str]]]) -> list[Case]:
    """The cases whose features a device has; skips the test where there are none."""
    missing = [(case, lacking(queue, features)) for case, features in cases]
    if found := [case for case, lacks in missing if not lacks]:
        return found
    skip_without(queue, missing[0][1])
    return []


def lacking(queue: Any, features: Iterable[str]) -> list[str]:
    """Those of the features that the device lacks."""
    return [name for name in features if name not in device_features(queue.device)]
