"""The device that kernels are tested on."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def queue() -> Any:
    """A queue on the device that POCKETCL_PLATFORM names, else on the newest PoCL."""
    cl = pytest.importorskip("pyopencl")
    from opencl_kernels.launch import choose_device

    try:
        device = choose_device()
    except (LookupError, cl.Error) as error:
        pytest.skip(f"no OpenCL device: {error}")
    return cl.CommandQueue(cl.Context([device]))
