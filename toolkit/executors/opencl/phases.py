"""Runs a plan on pyopencl by four verbs: bind symbols, write, run a phase, read.

`PhaseExecutor` knows the plan, its symbols, buffers and phases, and nothing of what they mean. What
they mean for a language model (chunks, positions, the token loop) stands in executors/host.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from opencl_kernels.device_class import is_cpu_class
from opencl_kernels.formats import DTYPES
from toolkit.errors import PocketError
from toolkit.executors.opencl.device_choice import choose_device, info_of
from toolkit.executors.opencl.device_fit import check_fit, limits_of
from toolkit.executors.opencl.errors import opencl_errors
from toolkit.executors.opencl.memory import PlanMemory
from toolkit.executors.opencl.variants import BoundDispatch, VariantChoice
from toolkit.executors.spans import Span
from toolkit.plan.expr import evaluate, symbols_of
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Buffer, Dispatch, HostStep, Phase, Plan, Ref, Scratch, Weight
from toolkit.toolchain.linker import check_linker

Values: TypeAlias = Mapping[str, int]  # of the symbols
# A launch that is refused for its kernel and sizes.
CODES = cl.status_code
OF_VARIANT = (
    CODES.OUT_OF_RESOURCES,
    CODES.INVALID_PROGRAM_EXECUTABLE,
    CODES.INVALID_WORK_DIMENSION,
    CODES.INVALID_WORK_GROUP_SIZE,
    CODES.INVALID_WORK_ITEM_SIZE,
    CODES.INVALID_GLOBAL_WORK_SIZE,
)
Grids: TypeAlias = dict[int, tuple[int, ...]]  # of each dispatch, by its index among the steps


@dataclass(frozen=True)
class TimedLaunch:
    """A dispatch that ran while a profile is taken."""

    run: int
    phase: Phase
    step: Dispatch
    kernel: str
    event: cl.Event


class BoundPhase:
    """A phase with its memory placed and its kernels built and bound."""

    def __init__(
        self, phase: Phase, scratch: list[cl.Buffer], dispatches: Mapping[int, BoundDispatch]
    ) -> None:
        self.phase, self.scratch, self.dispatches = phase, scratch, dict(dispatches)
        self.ran = False  # to its end: its variants can be launched
        self._grids: dict[tuple[int, ...], Grids] = {}
        self._note_sizes()

    def replace(self, number: int, dispatch: BoundDispatch) -> None:
        """Another variant of a dispatch."""
        self.dispatches[number] = dispatch
        self._note_sizes()

    def _note_sizes(self) -> None:
        self._sizes = {n: each.variant.global_size for n, each in self.dispatches.items()}
        self._used = {s for size in self._sizes.values() for d in size for s in symbols_of(d)}
        self._grids.clear()

    def grids(self, values: Values) -> Grids:
        """Global sizes; evaluated once per value of the symbols in them."""
        key = tuple(values[name] for name in sorted(self._used))
        if key not in self._grids:
            self._grids[key] = {
                number: tuple(evaluate(dim, values) for dim in size)
                for number, size in self._sizes.items()
            }
        return self._grids[key]


class PhaseExecutor:
    """A plan on the best device of this machine; `device` says which it is.

    platform  part of the name of an OpenCL platform or device, else $POCKETCL_PLATFORM
    phases    those that will run for sure: the device must have what one of their variants requires
    profile   take kernel times between start_profile and take_profile
    """

    def __init__(
        self,
        path: Path,
        plan: Plan,
        phases: Iterable[str],
        platform: str | None = None,
        profile: bool = False,
    ) -> None:
        device = choose_device(platform, is_cpu_class(plan.profile.get("class")))
        check_linker(device.platform.name)
        self.plan, self.device = plan, info_of(device)
        self._limits = limits_of(device)
        check_fit(plan, map(self._declared, phases), self._limits)
        with opencl_errors(f"cannot set up {device.name.strip()}"):
            context = cl.Context([device])
            properties: Any = cl.command_queue_properties.PROFILING_ENABLE if profile else 0
            self._queue = cl.CommandQueue(context, properties=properties)
        self._memory = PlanMemory(path, plan, context, self._queue)
        self._variants = VariantChoice(path, plan, self._queue, self._limits)
        self._indices = {buffer.name: index for index, buffer in enumerate(plan.buffers)}
        self._bound: dict[str, BoundPhase] = {}
        self._values: dict[str, int] = {}
        self._timed: list[TimedLaunch] | None = None  # while a profile is taken
        self._runs = 0

    def load(self, phase: str) -> bool:
        """Build what a phase needs; False where that was done before. `run` does it as well."""
        if phase in self._bound:
            return False
        declared = self._declared(phase)
        check_fit(self.plan, [declared], self._limits)
        scratch = self._memory.scratch(declared)
        dispatches = {
            number: self._choose(step, scratch)
            for number, step in enumerate(declared.steps)
            if isinstance(step, Dispatch)
        }
        self._bound[phase] = BoundPhase(declared, scratch, dispatches)
        return True

    def bind(self, values: Mapping[str, int | Sequence[int]]) -> None:
        """Give every symbol its value; a vector gets one for each element, or the same for all.

        Those not named here get their least. What a kernel will count gets its greatest: launches
        are sized for it.
        """
        words = np.zeros(self.plan.slots, np.int32)
        for s in self.plan.symbols:
            value = values.get(s.name, s.max if s.kind == "count" else s.min)
            words[s.slot : s.end] = value
            if isinstance(value, int):  # sizes are said in scalars only
                self._values[s.name] = value
        self._write(self._memory.symbols, words)

    def advance(self, symbol: str, value: int) -> None:
        """A phase that ran last has given the symbol this value itself."""
        self._values[symbol] = value

    def write(self, buffer: str, content: npt.NDArray[Any], offset: int = 0) -> None:
        """Copy an array into a buffer, `offset` bytes after its start."""
        self._write(self._buffer(buffer), content, offset)

    def run(
        self,
        phase: str,
        fetch: Callable[[str], None] = lambda _: None,
        after: Callable[[int], None] | None = None,
    ) -> None:
        """Enqueue a phase.

        fetch  gets the name of the buffer of each fetch step
        after  gets the number of each step that ran as a dispatch
        """
        self.load(phase)
        bound = self._bound[phase]
        self._runs += 1
        with opencl_errors(f"phase {phase} failed"):
            for number, step in enumerate(bound.phase.steps):
                if isinstance(step, HostStep):
                    fetch(self.plan.buffers[int(step.args[0][-1])].name)
                elif not isinstance(step, Dispatch):
                    self._queue.finish()
                elif all(bound.grids(self._values)[number]):  # nothing to do at a size of zero
                    self._launch(bound, number, step)
                    if after:
                        after(number)
        bound.ran = True

    def read(
        self, buffer: str, dtype: str, shape: Sequence[int], first: int = 0
    ) -> npt.NDArray[Any]:
        """Elements of a buffer from element `first` on, when all work enqueued has finished."""
        return self._read(self._buffer(buffer), dtype, shape, first)

    def read_later(self, buffer: str, into: npt.NDArray[Any], first: int) -> Callable[[], None]:
        """Enqueue a read of `into`'s size; call the answer before looking at it."""
        with opencl_errors("cannot read from the device"):
            offset, memory = first * into.itemsize, self._buffer(buffer)
            copied = cl.enqueue_copy(
                self._queue, into, memory, src_offset=offset, is_blocking=False
            )

        def wait() -> None:
            with opencl_errors("the device failed"):
                copied.wait()

        return wait

    def dispatches(self, phase: str) -> int:
        """How many kernels a phase launches."""
        self.load(phase)
        return len(self._bound[phase].dispatches)

    def tensor(self, phase: str, name: str) -> npt.NDArray[Any]:
        """What a tensor holds now, in its shape at the last run (scratch may be overwritten)."""
        self.load(phase)
        tables: Mapping[str, Sequence[Scratch | Buffer | Weight]] = {
            "scratch": self._bound[phase].phase.scratch,
            "buffer": self.plan.buffers,
            "weight": self.plan.weights,
        }
        for kind, table in tables.items():
            for index, item in enumerate(table):
                if item.name == name:
                    return self.argument(phase, (kind, index))
        raise PocketError(f"phase {phase} has no tensor '{name}'")

    def argument(self, phase: str, ref: Ref) -> npt.NDArray[Any]:
        """What an argument of a dispatch holds now, in its shape at the last run."""
        bound = self._bound[phase]
        item = self._item(bound.phase, ref)
        shape = [evaluate(dim, self._values) for dim in item.shape]
        return self._read(self._memory.of(ref, bound.scratch), item.dtype, shape)

    def name_of(self, phase: str, ref: Ref) -> str:
        """The name of the tensor that an argument of a dispatch means."""
        return self._item(self._declared(phase), ref).name

    def start_profile(self) -> None:
        """Note from here on when each kernel runs."""
        self._timed = []

    def take_profile(self) -> list[Span]:
        """When each dispatch ran that was noted; ends the noting."""
        self._queue.finish()
        timed, self._timed = self._timed or [], None
        with opencl_errors("kernel times are not taken"):
            return [_span(each) for each in timed]

    def close(self) -> None:
        """Wait for the device and give its memory back."""
        with opencl_errors("the device failed"):
            self._queue.finish()
        self._bound.clear()
        self._memory.release()

    def _choose(self, step: Dispatch, scratch: list[cl.Buffer]) -> BoundDispatch:
        return self._variants.choose(step, [self._memory.of(ref, scratch) for ref in step.args])

    def _declared(self, phase: str) -> Phase:
        found = self.plan.phase(phase)
        if found is None:
            raise PocketError(f"the plan has no phase '{phase}'", hint=RECOMPILE)
        return found

    def _buffer(self, name: str) -> cl.Buffer:
        return self._memory.buffers[self._indices[name]]

    def _launch(self, bound: BoundPhase, number: int, step: Dispatch) -> None:
        dispatch = bound.dispatches[number]
        size, local = bound.grids(self._values)[number], dispatch.variant.local_size
        try:
            event = cl.enqueue_nd_range_kernel(self._queue, dispatch.kernel, size, local)
        except cl.Error as error:  # some drivers refuse sizes that they said to take
            last = dispatch.variant == step.variants[-1]
            if bound.ran or last or error.code not in OF_VARIANT:
                raise
            self._variants.refuse(dispatch.variant, str(error))
            bound.replace(number, self._choose(step, bound.scratch))
            return self._launch(bound, number, step)
        if self._timed is not None:
            kernel = self.plan.programs[dispatch.variant.program].kernel
            self._timed.append(TimedLaunch(self._runs, bound.phase, step, kernel, event))

    def _item(self, phase: Phase, ref: Ref) -> Scratch | Buffer | Weight:
        """The plan's entry for an argument."""
        if len(ref) == 1:
            slots = self.plan.slots
            return Buffer("symbols", "state", "i32", (slots,), 4 * slots)
        tables: Mapping[str, Sequence[Scratch | Buffer | Weight]] = {
            "scratch": phase.scratch,
            "buffer": self.plan.buffers,
            "weight": self.plan.weights,
        }
        return tables[ref[0]][ref[1]]

    def _write(self, memory: cl.Buffer, content: npt.NDArray[Any], offset: int = 0) -> None:
        with opencl_errors("cannot write to the device"):
            cl.enqueue_copy(self._queue, memory, content, dst_offset=offset)

    def _read(
        self, memory: cl.Buffer, dtype: str, shape: Sequence[int], first: int = 0
    ) -> npt.NDArray[Any]:
        content = np.empty(tuple(shape), DTYPES[dtype])
        with opencl_errors("cannot read from the device"):
            if content.size:
                offset = first * content.itemsize
                cl.enqueue_copy(self._queue, content, memory, src_offset=offset)
        return content


def _span(launch: TimedLaunch) -> Span:
    times = launch.event.profile
    return Span(
        launch.run,
        launch.phase.name,
        launch.step.name,
        launch.kernel,
        times.queued,
        times.submit,
        times.start,
        times.end,
    )
