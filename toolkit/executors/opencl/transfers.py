"""Copies between numpy's memory and the device's, in the order of a queue."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from opencl_kernels.formats import DTYPES
from toolkit.executors.opencl.errors import opencl_errors


class Transfers:
    """Those through one queue."""

    def __init__(self, queue: cl.CommandQueue) -> None:
        self._queue = queue

    def write(self, memory: cl.Buffer, content: npt.NDArray[Any], offset: int = 0) -> None:
        """Copy an array into memory, `offset` bytes after its start."""
        with opencl_errors("cannot write to the device"):
            cl.enqueue_copy(self._queue, memory, content, dst_offset=offset)

    def read(
        self, memory: cl.Buffer, dtype: str, shape: Sequence[int], first: int = 0
    ) -> npt.NDArray[Any]:
        """Elements of a memory from element `first` on, when all work enqueued has finished."""
        content = np.empty(tuple(shape), DTYPES[dtype])
        with opencl_errors("cannot read from the device"):
            if content.size:
                offset = first * content.itemsize
                cl.enqueue_copy(self._queue, content, memory, src_offset=offset)
        return content

    def read_later(
        self, memory: cl.Buffer, into: npt.NDArray[Any], first: int
    ) -> Callable[[], None]:
        """Enqueue a read of `into`'s size; call the answer before looking at it."""
        with opencl_errors("cannot read from the device"):
            offset = first * into.itemsize
            copied = cl.enqueue_copy(
                self._queue, into, memory, src_offset=offset, is_blocking=False
            )

        def wait() -> None:
            with opencl_errors("the device failed"):
                copied.wait()

        return wait
