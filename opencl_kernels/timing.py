"""How long kernels take on a device, by its own clock, and what the device can do at most.

Weights and KV states come from memory, as in a model, whose other layers pass through the caches
in between: each launch takes another copy, and the copies are larger than any cache. Activations
are where the launch before left them, in a cache if they fit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyopencl as cl

from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.kernel import (
    Argument,
    Case,
    Kernel,
    Knobs,
    nbytes,
    random_inputs,
    source_text,
    symbols,
)
from opencl_kernels.launch import all_defines, build, choose_device

COLD = 1 << 28  # bytes that no cache holds
MOST_COPIES = 256
SETTLE = 3  # launches that no figure comes from


@dataclass(frozen=True)
class Timed:
    """The launches of one kernel on one case."""

    seconds: float  # the median
    spread: float  # slowest minus fastest of the middle 80 %, as a share of the median
    launches: int
    copies: int  # of its weights or states


@dataclass(frozen=True)
class Rates:
    """The roof: the best that two kernels without any other work reached."""

    read: float  # bytes a second, from memory
    multiply_add: float  # float operations a second, two of each multiply-add


class Timer:
    """A device whose kernels are timed."""

    def __init__(self, platform: str = "", seconds: float = 0.3) -> None:
        """`seconds`: how long each kernel is launched again and again."""
        self.seconds = seconds
        self.device = choose_device(platform)
        self.context = cl.Context([self.device])
        profiled = cl.command_queue_properties.PROFILING_ENABLE
        self.queue = cl.CommandQueue(self.context, properties=profiled)
        is_cpu = self.device.type & cl.device_type.CPU
        self.device_class = "cpu" if is_cpu else "generic"
        version = self.device.platform.version.split(",")[0].strip()
        self.name = f"{self.device.name.strip()}, {version}"

    def time(self, kernel: Kernel, case: Case, knobs: Knobs) -> Timed:
        """Launch a kernel on random values until there are figures enough."""
        text, defines = source_text(kernel.source), all_defines(kernel, case, knobs)
        program = build(self.context, self.device, text, defines)
        inputs = random_inputs(kernel, case, np.random.default_rng(0))
        arguments, values = kernel.arguments(case), symbols(case)
        copies, sym = _copies(arguments, case), self._buffer(values)
        buffers = [self._buffers(a, inputs.get(a.name), case, copies) for a in arguments]
        size, local = kernel.grid(case, knobs)
        bound = [cl.Kernel(program, kernel.name) for _ in range(copies)]
        for number, each in enumerate(bound):
            each.set_args(sym, *(of[number % len(of)] for of in buffers))

        def launch(number: int) -> float:
            cl.enqueue_copy(self.queue, sym, values)  # some kernels advance the position
            return self._seconds(bound[number % copies], size, local)

        return _timed(self._repeat(launch), copies)

    def rates(self) -> Rates:
        """Measure the roof; the best of many launches."""
        return Rates(self._read_rate(), self._multiply_add_rate())

    def _read_rate(self) -> float:
        count = COLD // 4
        x = self._buffer(np.zeros(count, np.float32))
        lanes = 1 if self.device_class == "cpu" else 64
        items = self.device.max_compute_units * (4 if lanes == 1 else 16 * lanes)
        best = 0.0
        for prefetch in (0, 40) if lanes == 1 and "PoCL" in self.name else (0,):
            defines = {"COUNT": f"{count}L", "LANES": lanes, "PREFETCH": prefetch, "REPEATS": 1}
            seconds = self._rate("rate_read", defines, x, items, lanes)
            best = max(best, 4 * count / seconds)
        return best

    def _multiply_add_rate(self) -> float:
        repeats, units = 1 << 15, self.device.max_compute_units
        items, local = (4 * units, 1) if self.device_class == "cpu" else (1024 * units, 64)
        defines = {"COUNT": "0L", "LANES": 1, "PREFETCH": 0, "REPEATS": repeats}
        x = self._buffer(np.full(128, 0.5, np.float32))
        seconds = self._rate("rate_multiply_add", defines, x, items, local)
        return float(256 * repeats * items / seconds)

    def _rate(self, name: str, defines: dict[str, Any], x: Any, items: int, local: int) -> float:
        program = build(self.context, self.device, source_text("rates.cl"), defines)
        kernel, y = cl.Kernel(program, name), self._buffer(np.zeros(16 * items, np.float32))
        kernel.set_args(x, y)  # which does not keep them alive
        return min(self._repeat(lambda _: self._seconds(kernel, (items,), (local,))))

    def _repeat(self, launch: Callable[[int], float]) -> list[float]:
        for number in range(SETTLE):
            launch(number)
        seconds: list[float] = []
        end = time.perf_counter() + self.seconds
        while len(seconds) < 5 or (time.perf_counter() < end and len(seconds) < 1000):
            seconds.append(launch(SETTLE + len(seconds)))
        return seconds

    def _seconds(self, kernel: Any, size: tuple[int, ...], local: tuple[int, ...]) -> float:
        event = cl.enqueue_nd_range_kernel(self.queue, kernel, size, local)
        event.wait()
        return float(1e-9 * (event.profile.end - event.profile.start))

    def _buffers(self, argument: Argument, value: Array | None, case: Case, copies: int) -> Any:
        """One buffer, or as many as there are copies of what comes from memory."""
        if value is None:
            value = np.zeros(argument.shape(case), DTYPES[argument.storage(case)])
        return [self._buffer(value) for _ in range(copies if _is_cold(argument) else 1)]

    def _buffer(self, content: Array) -> Any:
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        return cl.Buffer(self.context, flags, hostbuf=np.ascontiguousarray(content))


def _timed(seconds: list[float], copies: int) -> Timed:
    tenth, middle, ninth = np.quantile(seconds, (0.1, 0.5, 0.9))
    return Timed(float(middle), float((ninth - tenth) / middle), len(seconds), copies)


def _is_cold(argument: Argument) -> bool:
    return argument.role == "weight" or argument.name.endswith("_state")


def _copies(arguments: tuple[Argument, ...], case: Case) -> int:
    cold = nbytes(tuple(a for a in arguments if _is_cold(a)), case)
    return max(1, min(MOST_COPIES, COLD // cold)) if cold else 1
