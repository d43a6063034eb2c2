"""The readable twin of the runner: a plan on pyopencl; any tensor can be looked at on the way.

`Machine` knows OpenCL: buffers, kernels, the loop over a phase's steps. What the phases mean for a
language model (chunks, positions, the token loop) stands in `host.py`.
"""

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from opencl_kernels.formats import DTYPES
from toolkit.errors import PocketError
from toolkit.executors.device_fit import excess, lack
from toolkit.executors.spans import Span
from toolkit.plan.expr import evaluate, symbols_of
from toolkit.plan.schema import (
    Buffer,
    Dispatch,
    HostStep,
    Phase,
    Plan,
    Program,
    Ref,
    Scratch,
    Variant,
    Weight,
)
from toolkit.toolchain.linker import check_linker

Values: TypeAlias = Mapping[str, int]  # of the symbols
Hook: TypeAlias = Callable[[int], None]  # called with the index of a buffer or step
FLAGS = cl.mem_flags
NEWER_POCL = "this PoCL is older than the processor: apt-get install pocl-opencl-icd"
UNEDIT = "undo edits in kernels/, or compile the model again for this device"


@dataclass(frozen=True)
class Launch:
    """A dispatch made ready: the variant that this device takes, with its own kernel object."""

    variant: Variant
    kernel: cl.Kernel


@dataclass(frozen=True)
class Noted:
    """A dispatch whose times are wanted."""

    run: int
    phase: Phase
    step: Dispatch
    launch: Launch
    event: cl.Event


class Ready:
    """A phase with its memory placed and its kernels built and bound."""

    def __init__(self, phase: Phase, scratch: list[cl.Buffer], launches: dict[int, Launch]) -> None:
        self.phase, self.scratch, self.launches = phase, scratch, launches
        self.sizes = {number: each.variant.global_size for number, each in launches.items()}
        self.used = {s for size in self.sizes.values() for d in size for s in symbols_of(d)}
        self.grids: dict[tuple[int, ...], dict[int, tuple[int, ...]]] = {}

    def grid(self, values: Values) -> dict[int, tuple[int, ...]]:
        """Global size of each dispatch; evaluated once per value of the symbols in them."""
        key = tuple(values[name] for name in sorted(self.used))
        if key not in self.grids:
            self.grids[key] = {
                number: tuple(evaluate(dim, values) for dim in size)
                for number, size in self.sizes.items()
            }
        return self.grids[key]


class Machine:
    """A plan on one OpenCL device."""

    def __init__(self, path: Path, plan: Plan, device: cl.Device, profile: bool = False) -> None:
        """Allocate everything that the plan needs; kernels are built by `prepare`."""
        self.path, self.plan, self.device = path, plan, device
        _check_alignment(plan, device)
        check_linker(device.platform.name)
        with _opencl(f"cannot set up {device.name.strip()}"):
            self.context = cl.Context([device])
            properties: Any = cl.command_queue_properties.PROFILING_ENABLE if profile else 0
            self.queue = cl.CommandQueue(self.context, properties=properties)
        arena = max((p.arena_bytes for p in plan.phases), default=0)
        self.symbols = self._zeros("the symbols", 4 * len(plan.symbols))
        self.arena = self._zeros("the arena", max(1, arena))
        self.buffers = [self._zeros(b.name, b.bytes) for b in plan.buffers]
        self.shards = self._mapped_shards()
        self.weights = self._weights()
        self.noted: list[Noted] | None = None  # while a profile is taken
        self.runs = 0
        self._programs: dict[int, cl.Program | str] = {}  # a string: why it didn't build

    def prepare(self, phase: Phase) -> Ready:
        """Build the kernels of a phase and bind their arguments."""
        places = [(s.offset or 0, s.bytes) for s in phase.scratch]
        with _opencl(f"cannot place the scratch tensors of phase {phase.name}"):
            scratch = [self.arena.get_sub_region(*place) for place in places]
        launches = {
            number: self._launch(step, scratch)
            for number, step in enumerate(phase.steps)
            if isinstance(step, Dispatch)
        }
        return Ready(phase, scratch, launches)

    def run(self, ready: Ready, values: Values, fetch: Hook, after: Hook | None = None) -> None:
        """Enqueue a phase: `fetch` gets the buffer of each fetch step, `after` each dispatch."""
        grids, self.runs = ready.grid(values), self.runs + 1
        with _opencl(f"phase {ready.phase.name} failed"):
            for number, step in enumerate(ready.phase.steps):
                if isinstance(step, HostStep):
                    fetch(step.buffer)
                elif not isinstance(step, Dispatch):
                    self.queue.finish()
                elif all(grids[number]):  # nothing to do at a size of zero
                    launch = ready.launches[number]
                    local = launch.variant.local_size
                    size = grids[number]
                    event = cl.enqueue_nd_range_kernel(self.queue, launch.kernel, size, local)
                    if self.noted is not None:
                        self.noted.append(Noted(self.runs, ready.phase, step, launch, event))
                    if after:
                        after(number)

    def write(self, buffer: cl.Buffer, content: npt.NDArray[Any], offset: int = 0) -> None:
        """Copy an array into a buffer, `offset` bytes behind its start."""
        with _opencl("cannot write to the device"):
            cl.enqueue_copy(self.queue, buffer, content, dst_offset=offset)

    def read(
        self, buffer: cl.Buffer, dtype: str, shape: Sequence[int], first: int = 0
    ) -> npt.NDArray[Any]:
        """Elements of a buffer from element `first` on, when all work enqueued has finished."""
        content = np.empty(tuple(shape), DTYPES[dtype])
        with _opencl("cannot read from the device"):
            if content.size:
                offset = first * content.itemsize
                cl.enqueue_copy(self.queue, content, buffer, src_offset=offset)
        return content

    def read_later(
        self, buffer: cl.Buffer, into: npt.NDArray[Any], first: int
    ) -> Callable[[], None]:
        """Enqueue a read of `into`'s size; call the answer before looking at it."""
        with _opencl("cannot read from the device"):
            offset = first * into.itemsize
            copied = cl.enqueue_copy(self.queue, into, buffer, src_offset=offset, is_blocking=False)

        def wait() -> None:
            with _opencl("the device failed"):
                copied.wait()

        return wait

    def take_profile(self) -> list[Span]:
        """When each dispatch ran that was noted; ends the noting."""
        self.queue.finish()
        noted, self.noted = self.noted or [], None
        with _opencl("kernel times are not taken"):
            return [self._span(each) for each in noted]

    def item(self, ready: Ready, ref: Ref) -> Scratch | Buffer | Weight:
        """The plan's entry for an argument."""
        if len(ref) == 1:
            slots = len(self.plan.symbols)
            return Buffer("symbols", "state", "i32", (slots,), 4 * slots)
        tables: Mapping[str, Sequence[Scratch | Buffer | Weight]] = {
            "scratch": ready.phase.scratch,
            "buffer": self.plan.buffers,
            "weight": self.plan.weights,
        }
        return tables[ref[0]][ref[1]]

    def tensor(self, ready: Ready, ref: Ref, values: Values) -> npt.NDArray[Any]:
        """What an argument holds now, in its shape at these values."""
        item = self.item(ready, ref)
        shape = [evaluate(dim, values) for dim in item.shape]
        return self.read(self._memory(ready.scratch, ref), item.dtype, shape)

    def close(self) -> None:
        """Wait for the device and give its memory back."""
        with _opencl("the device failed"):
            self.queue.finish()
        for memory in (*self.weights, *self.shards, *self.buffers, self.arena, self.symbols):
            memory.release()

    def _span(self, noted: Noted) -> Span:
        kernel = self.plan.programs[noted.launch.variant.program].kernel
        times = noted.event.profile
        return Span(
            noted.run,
            noted.phase.name,
            noted.step.name,
            kernel,
            times.queued,
            times.submit,
            times.start,
            times.end,
        )

    def _zeros(self, name: str, nbytes: int) -> cl.Buffer:
        with _opencl(f"cannot allocate {nbytes} bytes for {name}"):
            buffer = cl.Buffer(self.context, FLAGS.READ_WRITE, max(4, nbytes))
            cl.enqueue_fill_buffer(self.queue, buffer, np.zeros(1, np.uint8), 0, max(4, nbytes))
        return buffer

    def _mapped_shards(self) -> list[cl.Buffer]:
        """The weights files, without a copy where the device uses host memory."""
        how = FLAGS.USE_HOST_PTR if self.device.host_unified_memory else FLAGS.COPY_HOST_PTR
        shards = []
        for number in range(max((w.file + 1 for w in self.plan.weights), default=0)):
            file = self.path / self.plan.files[number].path
            with _opencl(f"cannot give {file} to the device"):
                mapped = np.memmap(file, np.uint8, "r")
                shards.append(cl.Buffer(self.context, FLAGS.READ_ONLY | how, hostbuf=mapped))
        return shards

    def _weights(self) -> list[cl.Buffer]:
        with _opencl("cannot place the weights"):
            places = [(self.shards[w.file], w.offset, w.bytes) for w in self.plan.weights]
            return [shard.get_sub_region(offset, nbytes) for shard, offset, nbytes in places]

    def _launch(self, step: Dispatch, scratch: list[cl.Buffer]) -> Launch:
        """The first variant that the device has everything for and whose program builds."""
        reasons = []
        for variant in step.variants:
            found = self._usable(variant, step, scratch)
            if not isinstance(found, str):
                return Launch(variant, found)
            reasons.append(f"{self.plan.programs[variant.program].source}: {found}")
        device = f"{self.device.name.strip()} (driver {self.device.driver_version})"
        raise PocketError(
            f"{step.name} has no kernel that runs on {device}",
            "\n".join(reasons),
            NEWER_POCL if "unknown target CPU" in "".join(reasons) else UNEDIT,
        )

    def _usable(
        self, variant: Variant, step: Dispatch, scratch: list[cl.Buffer]
    ) -> cl.Kernel | str:
        """The kernel of a variant, ready to launch, or why it can't be used here."""
        built = lack(variant, self.device) or self._program(variant.program)
        if isinstance(built, str):
            return built
        kernel = self._kernel(built, self.plan.programs[variant.program], step, scratch)
        return excess(kernel, variant, self.device) or kernel

    def _kernel(
        self, built: cl.Program, program: Program, step: Dispatch, scratch: list[cl.Buffer]
    ) -> cl.Kernel:
        """One kernel object per dispatch, bound once: recorded steps need that (see the runner)."""
        what = f"{program.source}: no usable kernel {program.kernel} for {step.name}"
        with _opencl(what, UNEDIT):
            kernel = cl.Kernel(built, program.kernel)
            for number, ref in enumerate(step.args):
                kernel.set_arg(number, self._memory(scratch, ref))
        if kernel.num_args != len(step.args):
            because = f"{program.kernel} takes {kernel.num_args}, the plan gives {len(step.args)}"
            raise PocketError(f"wrong number of arguments for {step.name}", because, UNEDIT)
        return kernel

    def _memory(self, scratch: list[cl.Buffer], ref: Ref) -> cl.Buffer:
        if len(ref) == 1:
            return self.symbols
        return {"weight": self.weights, "buffer": self.buffers, "scratch": scratch}[ref[0]][ref[1]]

    def _program(self, index: int) -> cl.Program | str:
        """The built program, or the first lines of why it doesn't build."""
        if index not in self._programs:
            program = self.plan.programs[index]
            header = "".join(f"#define {name} {value}\n" for name, value in program.defines)
            text = header + (self.path / program.source).read_text("utf-8", "replace")
            self._programs[index] = _build(self.context, text)
        return self._programs[index]


def choose_device(wanted: str | None = None, prefer_cpu: bool = True) -> cl.Device:
    """The device whose platform or name contains `wanted` ($POCKETCL_PLATFORM), else the best here.

    Best: of the plan's kind (CPU or GPU), then the newest driver. Oclgrind only on request.
    """
    wanted = (wanted or os.environ.get("POCKETCL_PLATFORM", "")).lower()
    with _opencl("OpenCL does not work here", "pocketcl doctor"):
        devices = [d for p in cl.get_platforms() for d in _devices(p)]
    labels = {d: f"{d.platform.name} {d.platform.version} {d.name}".lower() for d in devices}
    fitting = [d for d in devices if wanted in labels[d]]
    if not fitting:
        because = f"here are {', '.join(d.name.strip() for d in devices) or 'none'}"
        what = f"no OpenCL device matches '{wanted}'" if wanted else "no OpenCL device is here"
        raise PocketError(what, because, "pocketcl doctor")

    def rank(device: cl.Device) -> tuple[bool, bool, list[int]]:
        is_cpu = bool(device.type & cl.device_type.CPU)
        driver = [int(n) for n in re.findall(r"\d+", device.driver_version)[:2]]
        return "oclgrind" not in labels[device], is_cpu == prefer_cpu, driver

    return max(fitting, key=rank)


def _devices(platform: cl.Platform) -> list[cl.Device]:
    try:
        return platform.get_devices()
    except cl.Error:  # a driver without a device
        return []


def _build(context: cl.Context, text: str) -> cl.Program | str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # compilers talk; only failures matter here
        try:
            built: cl.Program = cl.Program(context, text).build()
            return built
        except cl.Error as error:
            lines = [line.strip() for line in str(error).splitlines() if "error" in line]
            return "\n".join(lines[:3]) or str(error)[:300]


def _check_alignment(plan: Plan, device: cl.Device) -> None:
    needed, given = device.mem_base_addr_align // 8, int(plan.profile["align"])
    if given % needed:
        raise PocketError(
            f"the plan does not fit {device.name.strip()}",
            f"it aligns memory to {given} bytes, the device needs {needed}",
            "compile the model for this device: pocketcl compile SRC -o PLAN",
        )


@contextmanager
def _opencl(what: str, hint: str = "pocketcl doctor") -> Iterator[None]:
    try:
        yield
    except (cl.Error, OSError) as error:
        raise PocketError(what, str(error), hint) from error
