"""How long kernels take on a device, by its own clock, and what the device can do at most.

Weights and KV states come from memory, as in a model, whose other layers pass through the caches
in between: each launch takes another copy, and the copies are larger than any cache. Activations
are where the launch before left them, in a cache if they fit. What fits into the device's cache is
also taken from there, again and again: a kernel that is as slow then does not wait for memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyopencl as cl

from opencl_kernels.case import Case, symbols
from opencl_kernels.device_class import CPU, GENERIC
from opencl_kernels.family import Family, random_inputs
from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.kernel import Argument, Kernel, Knobs, nbytes, source_text
from opencl_kernels.launch import all_defines, build, texels_of

COLD = 1 << 28  # bytes that few caches hold: at least so many lie between two uses of one
MOST_COPIES = 256
PARTS = 4  # that as much is read in
LEAST_CACHE = (
    1 << 20
)  # bytes of a cache that holds what kernels share, not what each is about to use
CACHED = 4  # of a cache this part is read again and again: neighbours on the machine use it, too
SETTLE = 2  # launches that no figure comes from
FROM_CACHE = "rate_read from a cache"
BETTER = {"rate_read": 0.25, "rate_multiply_add": 0.0, FROM_CACHE: 0.25}  # quantiles of seconds
SLICES = 4  # of the launches of a case, with something else in between
FEWEST, MOST = 2, 1000  # launches of a slice


@dataclass(frozen=True)
class Timed:
    """The launches of one kernel on one case."""

    seconds: float  # the median
    spread: float  # slowest minus fastest of the middle 80 %, as a share of the median
    launches: int
    copies: int  # of its weights or states
    slices: tuple[float, ...] = ()  # medians of launches with something else in between
    warm: tuple[float, ...] = ()  # the same where all comes from a cache; none where it has no room


@dataclass(frozen=True)
class Rates:
    """The roof: what two kernels without any other work reached.

    The few work-groups of a CPU's launch are at times one core's alone: so of reading the better
    quartile counts, for memory itself is faster and slower, and of arithmetic the best.
    """

    read: float  # bytes a second, from memory
    multiply_add: float  # float operations a second, two of each multiply-add
    read_spread: float
    multiply_add_spread: float
    cached: float | None = None  # bytes a second from a cache, where there is one


class Timer:
    """A device whose kernels are timed."""

    def __init__(self, device: Any, seconds: float = 0.3) -> None:
        """`device`: pyopencl's; `seconds`: how long each kernel is launched again and again."""
        self.seconds = seconds
        self.device = device
        self.context = cl.Context([self.device])
        profiled = cl.command_queue_properties.PROFILING_ENABLE
        self.queue = cl.CommandQueue(self.context, properties=profiled)
        is_cpu = self.device.type & cl.device_type.CPU
        self.device_class = CPU if is_cpu else GENERIC
        version = self.device.platform.version.split(",")[0].strip()
        self.name = f"{self.device.name.strip()}, {version}"
        most = self.device.global_mem_size // 8
        cache = int(self.device.global_mem_cache_size)
        self.cold = min(max(COLD, 2 * cache), most)
        self.cache = cache if cache >= LEAST_CACHE else 0  # bytes

    def time(
        self,
        family: Family,
        kernel: Kernel,
        case: Case,
        knobs: Knobs,
        between: Callable[[], None] = lambda: None,
    ) -> Timed:
        """Launch a kernel on random values until there are figures enough.

        `between` is called before, after, and a few times on the way.
        """
        launch, copies = self.prepared(family, kernel, case, knobs)
        fits = 0 < _cold_bytes(family.arguments(case)) <= self.cache // 2
        cold, warm = list[list[float]](), list[list[float]]()
        for _ in range(SLICES):
            between()
            cold.append(self._some(launch, sum(map(len, cold))))
            if fits:
                warm.append(self._some(lambda _: launch(0), 0))
        between()
        found = timed([seconds for each in cold for seconds in each], copies)
        return replace(found, slices=_middles(cold), warm=_middles(warm))

    def prepared(
        self, family: Family, kernel: Kernel, case: Case, knobs: Knobs
    ) -> tuple[Callable[[int], float], int]:
        """What does launch number N and says how long it took, and how many copies it takes."""
        text, defines = source_text(kernel.source), all_defines(kernel, case, knobs)
        program = build(self.context, self.device, text, defines, kernel.options)
        inputs = random_inputs(family, case, np.random.default_rng(0))
        arguments, values = family.arguments(case), symbols(case)
        copies, sym = _copies(arguments, self.cold), self.buffer(values)
        buffers = [self._buffers(a, inputs.get(a.name), copies) for a in arguments]
        names = [argument.name for argument in arguments]
        images = [buffers[names.index(name)][0] for name in kernel.requires(case, knobs).images]
        views = [each for image in images for each in (texels_of(image), np.int32(0))]
        size, local = kernel.grid(case, knobs)
        bound = [cl.Kernel(program, kernel.name) for _ in range(copies)]
        for number, each in enumerate(bound):
            each.set_args(sym, *(of[number % len(of)] for of in buffers), *views)

        # `buffers` is a default, as kernels do not keep their arguments.
        def launch(number: int, _kept: Any = (buffers, views)) -> float:
            cl.enqueue_copy(self.queue, sym, values)  # some kernels advance the position
            return self.seconds_of(bound[number % copies], size, local)

        return launch, copies

    def _some(self, launch: Callable[[int], float], number: int) -> list[float]:
        """The launches of a slice, numbered from here on."""
        for settling in range(SETTLE):
            launch(number + settling)
        seconds: list[float] = []
        end = time.perf_counter() + self.seconds / SLICES
        while len(seconds) < FEWEST or (len(seconds) < MOST and time.perf_counter() < end):
            seconds.append(launch(number + SETTLE + len(seconds)))
        return seconds

    def seconds_of(self, kernel: Any, size: tuple[int, ...], local: tuple[int, ...]) -> float:
        """One launch, by the device's clock."""
        event = cl.enqueue_nd_range_kernel(self.queue, kernel, size, local)
        event.wait()
        return float(1e-9 * (event.profile.end - event.profile.start))

    def _buffers(self, argument: Argument, value: Array | None, copies: int) -> Any:
        """One buffer, or as many as there are copies of what comes from memory."""
        if value is None:
            value = np.zeros(argument.shape, DTYPES[argument.dtype])
        return [self.buffer(value) for _ in range(copies if _is_cold(argument) else 1)]

    def buffer(self, content: Array) -> Any:
        """A copy on the device."""
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        return cl.Buffer(self.context, flags, hostbuf=np.ascontiguousarray(content))


class Roof:
    """The rates of a device, sampled again and again while kernels are timed.

    Neighbours on the machine take a share of its memory that changes by the second: a roof of one
    moment would tell nothing of a kernel's.
    """

    def __init__(self, timer: Timer) -> None:
        self.timer, self.cpu = timer, timer.device_class is CPU
        self.y = timer.buffer(np.zeros(16 * self._items(), np.float32))
        # In parts whose launches are as short, and as rarely disturbed, as those of kernels.
        part = np.random.default_rng(0).random(timer.cold // PARTS // 4, np.float32)
        self.parts = [timer.buffer(part) for _ in range(PARTS)]
        prefetches = (0, 40) if self.cpu and "PoCL" in timer.name else (0,)
        reads = [self._kernels("rate_read", self.parts, prefetch) for prefetch in prefetches]
        self.kernels = {"rate_multiply_add": self._kernels("rate_multiply_add", self.parts)}
        self.kernels["rate_read"] = min(reads, key=self._median)
        if timer.cache:
            self.small = timer.buffer(part[: timer.cache // CACHED // 4])  # kept, as are the parts
            self.kernels[FROM_CACHE] = self._kernels("rate_read", PARTS * [self.small])
        self.seconds: dict[str, list[float]] = {name: [] for name in self.kernels}

    def sample(self) -> None:
        """A few launches of both."""
        for name, kernels in self.kernels.items():
            self._launch(kernels[-1])  # wakes the device
            self.seconds[name] += [self._launch(kernel) for kernel in kernels]

    @property
    def samples(self) -> int:
        """Launches so far; `rates` can begin and end at such marks."""
        return len(self.seconds["rate_read"])

    def rates(self, since: int = 0, until: int | None = None) -> Rates:
        """Those of the samples."""
        found = {name: each[since:until] for name, each in self.seconds.items()}
        best = {name: float(np.quantile(each, BETTER[name])) for name, each in found.items()}
        spread = {name: timed(each).spread for name, each in found.items()}
        operations = 256 * self._repeats() * self._items()
        return Rates(
            self.timer.cold / PARTS / best["rate_read"],
            operations / best["rate_multiply_add"],
            spread["rate_read"],
            spread["rate_multiply_add"],
            self.timer.cache / CACHED / best[FROM_CACHE] if FROM_CACHE in best else None,
        )

    def _repeats(self) -> int:
        return 1 << (18 if self.cpu else 15)

    def _items(self) -> int:
        return int(self.timer.device.max_compute_units) * (4 if self.cpu else 1024)

    def _kernels(self, name: str, parts: list[Any], prefetch: int = 0) -> list[Any]:
        """The same kernel on every part."""
        lanes = 1 if self.cpu else 64
        count = parts[0].size // 4 // (128 * lanes) * (128 * lanes)
        sizes: dict[str, int | str] = {"COUNT": f"{count}L", "REPEATS": self._repeats()}
        defines = {**sizes, "LANES": lanes, "PREFETCH": prefetch}
        text = source_text("rates.cl")
        program = build(self.timer.context, self.timer.device, text, defines)
        kernels = [cl.Kernel(program, name) for _ in parts]
        for kernel, part in zip(kernels, parts, strict=True):
            kernel.set_args(part, self.y)
        return kernels

    def _median(self, kernels: list[Any]) -> float:
        return float(np.median([self._launch(kernel) for kernel in 3 * kernels]))

    def _launch(self, kernel: Any) -> float:
        local = 1 if self.cpu else 64
        return self.timer.seconds_of(kernel, (self._items(),), (local,))


def timed(seconds: list[float], copies: int = 1) -> Timed:
    """The median of these launches, and their spread."""
    tenth, middle, ninth = np.quantile(seconds, (0.1, 0.5, 0.9))
    return Timed(float(middle), float((ninth - tenth) / middle), len(seconds), copies)


def _middles(slices: list[list[float]]) -> tuple[float, ...]:
    return tuple(float(np.median(each)) for each in slices)


def _is_cold(argument: Argument) -> bool:
    return argument.role == "weight" or argument.is_state


def _cold_bytes(arguments: tuple[Argument, ...]) -> int:
    return nbytes(tuple(a for a in arguments if _is_cold(a)))


def _copies(arguments: tuple[Argument, ...], cold: int) -> int:
    each = _cold_bytes(arguments)
    return max(1, min(MOST_COPIES, cold // each)) if each else 1


class Copying:
    """The rate at which a device copies memory, sampled like the roof."""

    def __init__(self, timer: Timer) -> None:
        self.timer, self.seconds = timer, list[float]()
        self.count = timer.cold // 2 // 16  # elements of four floats
        # Kept, as kernels do not keep their arguments.
        self.buffers = [timer.buffer(np.zeros(4 * self.count, np.float32)) for _ in range(2)]
        program = build(timer.context, timer.device, source_text("rates.cl"), {})
        self.kernels = [cl.Kernel(program, "rate_copy") for _ in self.buffers]
        for kernel, (x, y) in zip(self.kernels, (self.buffers, self.buffers[::-1]), strict=True):
            kernel.set_args(x, y)

    def sample(self) -> None:
        """There and back; the first launch wakes the device."""
        self._launch(self.kernels[1])
        self.seconds += map(self._launch, self.kernels)

    def rate(self, since: int = 0) -> tuple[float, float]:
        """Bytes read and written, a second, and the spread, from this sample on."""
        found = timed(self.seconds[since:])
        return 2 * 16 * self.count / found.seconds, found.spread

    def _launch(self, kernel: Any) -> float:
        return self.timer.seconds_of(kernel, (self.count,), (64,))
