"""Runs named kernels on POCKETCL_PLATFORM, their first case and all of at most N flops.

    python tests/kernels/run_cases.py KERNEL... [--flops N] [--spoil] [--option OPTION]

What computes with records does the first case with fewer of them and with none, too. Prints `done
KERNEL` after each; what needs a feature that the device lacks isn't run. A process of its own,
since Oclgrind and PoCL read their settings when the OpenCL library is loaded. `--spoil` makes a
launch write past its output.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from opencl_kernels import KERNELS, Family, Kernel, family_of
from opencl_kernels.case import Case
from opencl_kernels.family import random_inputs
from opencl_kernels.launch import launch, open_queue
from opencl_kernels.records.gathered import Gathered
from opencl_kernels.tuned import default_knobs
from toolkit.devices.features import device_features
from toolkit.executors.opencl.device_choice import choose_device


def spoiled(kernel: Kernel) -> Kernel:
    """The kernel with more rows than its buffers have: a store out of bounds."""

    def defines(case: Any, knobs: dict[str, int]) -> dict[str, int | float | str]:
        return {**kernel.defines(case, knobs), "D": case.D + 1}

    return replace(kernel, defines=defines)


def run(
    queue: Any,
    family: Family,
    kernel: Kernel,
    case: Case,
    options: Sequence[str],
    records: int | None = None,
) -> None:
    """Once; `records`: of the ticket, None: as many as it has room for."""
    knobs = default_knobs(kernel, kernel.classes[0])
    needs = kernel.requires(case, knobs)
    if not {*needs.features} <= {*device_features(queue.device)}:
        return
    widened = "-DNO_HALVES" in options and getattr(case, "kv", "") == "f16"  # tiles become floats
    if widened and 2 * needs.local_bytes > queue.device.local_mem_size:
        return
    inputs = random_inputs(family, case, np.random.default_rng(0))
    if records is not None:
        inputs["ticket"] = inputs["ticket"].copy()
        inputs["ticket"][:2] = records, 1
    outputs, _ = launch(queue, family, kernel, inputs, case, knobs, 0, options)
    for key, expected in family.reference(inputs, case).items():
        bar = 1e-2 if outputs[key].dtype == np.float16 else 1e-4
        size = max(1.0, float(np.abs(expected).max()))  # sums cancel
        np.testing.assert_allclose(outputs[key], expected, rtol=bar, atol=bar * size)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kernels", nargs="+")
    parser.add_argument("--spoil", action="store_true")
    parser.add_argument("--flops", type=int, default=0)
    parser.add_argument("--option", action="append", default=[])
    arguments = parser.parse_args()
    with open_queue(choose_device()) as queue:
        for name in arguments.kernels:
            family, kernel = family_of(name), KERNELS[name]
            launched = spoiled(kernel) if arguments.spoil else kernel
            cases = [case for case in family.cases if kernel.supports(case) is None]
            small = [case for case in cases[1:] if family.work(case)[1] <= arguments.flops]
            for case in (cases[0], *small):
                run(queue, family, launched, case, arguments.option)
            for records in (3, 0) if isinstance(cases[0], Gathered) else ():
                run(queue, family, launched, cases[0], arguments.option, records)
            print("done", name, flush=True)


if __name__ == "__main__":
    main()
