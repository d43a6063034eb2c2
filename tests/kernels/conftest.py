"""The device that kernels are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture(scope="session")
def queue() -> Iterator[Any]:
    """A queue on the device that POCKETCL_PLATFORM names, else on the newest PoCL."""
    cl = pytest.importorskip("pyopencl")
    from opencl_kernels.launch import open_queue

    with ExitStack() as stack:
        try:
            queue = stack.enter_context(open_queue())
        except (LookupError, cl.Error) as error:
            pytest.skip(f"no OpenCL device: {error}")
        yield queue
