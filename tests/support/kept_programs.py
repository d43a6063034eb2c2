"""A program that the Python executor asks for again is loaded from its binary.

PoCL preprocesses its own headers for every source, known or not: 40 ms for each program of each
session that a test opens. What a source says is still compiled, twice, before its binary serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyopencl as cl

Build = Callable[..., cl.Program | str]


class KeptPrograms:
    """Builds as `build` does; `binaries` is empty for a program that was built once."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.binaries: dict[tuple[Any, ...], bytes] = {}

    def __call__(self, queue: cl.CommandQueue, *source: Any) -> cl.Program | str:
        key = (queue.device.int_ptr, *source)
        if binary := self.binaries.get(key):
            return cl.Program(queue.context, [queue.device], [binary]).build()
        built = self.build(queue, *source)
        if isinstance(built, cl.Program):  # a string says why it doesn't build
            self.binaries[key] = self._binary(built) if key in self.binaries else b""
        return built

    def _binary(self, built: cl.Program) -> bytes:
        (binary,) = built.get_info(cl.program_info.BINARIES)
        return bytes(binary)
