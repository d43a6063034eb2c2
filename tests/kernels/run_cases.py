"""Runs named kernels on POCKETCL_PLATFORM, their first case and all of at most N flops.

    python tests/kernels/run_cases.py KERNEL... [--flops N] [--spoil] [--option OPTION]

Prints `done KERNEL` after each. A process of its own, since Oclgrind and PoCL read their settings
when the OpenCL library is loaded. `--spoil` makes a launch write past its output.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from opencl_kernels import KERNELS, Kernel, default_knobs
from opencl_kernels.kernel import Case, random_inputs
from opencl_kernels.launch import launch, open_queue


def spoiled(kernel: Kernel) -> Kernel:
    """The kernel told of more rows than its buffers have: a store out of bounds."""
    case = kernel.cases[0]

    def defines(_: Case, knobs: dict[str, int]) -> dict[str, int | float | str]:
        return {**kernel.defines(case, knobs), "D": case["D"] + 1}

    return replace(kernel, defines=defines)


def run(queue: Any, kernel: Kernel, case: Case, options: Sequence[str]) -> None:
    inputs = random_inputs(kernel, case, np.random.default_rng(0))
    outputs, _ = launch(queue, kernel, inputs, case, default_knobs(kernel), 0, options)
    for key, expected in kernel.reference(inputs, case).items():
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
    with open_queue() as queue:
        for name in arguments.kernels:
            kernel = KERNELS[name]
            for case in kernel.cases:
                if case is not kernel.cases[0] and kernel.work(case)[1] > arguments.flops:
                    continue
                run(queue, spoiled(kernel) if arguments.spoil else kernel, case, arguments.option)
            print("done", name, flush=True)


if __name__ == "__main__":
    main()
