"""Every family on every class of devices against its numpy reference, with guard bytes."""

from __future__ import annotations

from typing import Any

import pytest
from launches import check_launch, every_case, skip_without

from opencl_kernels import Family, Kernel
from opencl_kernels.case import Case
from opencl_kernels.kernel import Knobs


@pytest.mark.parametrize(("family", "kernel", "case", "knobs"), list(every_case()))
def test_kernel_equals_numpy(
    queue: Any, family: Family, kernel: Kernel, case: Case, knobs: Knobs
) -> None:
    skip_without(queue, kernel.requires(case, knobs).features)
    check_launch(queue, family, kernel, case, knobs)
