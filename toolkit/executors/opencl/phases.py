"""Runs a plan on pyopencl by four verbs: bind symbols, write, run a phase, read.

`PhaseExecutor` knows the plan, its symbols, buffers and phases, and nothing of what they mean. What
they mean for a language model (chunks, positions, the token loop) stands in executors/host.py.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from opencl_kernels.device_class import is_cpu_class
from toolkit.errors import PocketError
from toolkit.executors.opencl.bound_phase import BoundPhase, Place, dispatches_of
from toolkit.executors.opencl.computed_aside import compute_aside
from toolkit.executors.opencl.device_choice import choose_device, info_of
from toolkit.executors.opencl.device_fit import check_fit, limits_of
from toolkit.executors.opencl.errors import opencl_errors
from toolkit.executors.opencl.gather.gatherer import Gatherer
from toolkit.executors.opencl.gather.second_engine import Aside
from toolkit.executors.opencl.memory import PlanMemory, item_of, named
from toolkit.executors.opencl.timeline import TimedLaunch, Timeline
from toolkit.executors.opencl.transfers import Transfers
from toolkit.executors.opencl.variants import BoundDispatch, VariantChoice
from toolkit.executors.spans import Span
from toolkit.plan.checks.values import RECORDS
from toolkit.plan.expr import evaluate
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import (
    Dispatch,
    Gather,
    HostStep,
    Phase,
    Plan,
    Point,
    Prefetch,
    Ref,
)
from toolkit.toolchain.linker import check_linker

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


class PhaseExecutor:
    """A plan on the best device of this machine; `device` says which it is.

    platform  part of the name of an OpenCL platform or device, else $POCKETCL_PLATFORM
    phases    those that will run for sure: the device must have what one of their variants requires
    profile   take kernel times between start_profile and take_profile
    memory    bytes or "auto", trace, warm, overlap, engine: of plans with tables, see Gatherer
    """

    def __init__(
        self,
        path: Path,
        plan: Plan,
        phases: Iterable[str],
        platform: str | None = None,
        profile: bool = False,
        memory: int | str | None = None,
        trace: Path | None = None,
        warm: Path | None = None,
        overlap: str | None = None,
        engine: str | None = None,
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
        gathering = (path, plan, self._queue, memory, trace, warm, overlap, engine)
        self._gatherer = Gatherer(*gathering) if plan.tables else None
        self._indices = {buffer.name: index for index, buffer in enumerate(plan.buffers)}
        self._bound: dict[str, BoundPhase] = {}
        self._values: dict[str, int] = {}
        self._timeline, self._transfers = Timeline(), Transfers(self._queue)
        self._runs = 0

    @property
    def point(self) -> Point | None:
        """How memory is spent, where a plan has tables."""
        return self._gatherer.point if self._gatherer else None

    def budget(self, memory: int) -> int:
        """What a plan with tables may take of memory from here on; returns what it takes."""
        assert self._gatherer
        self._gatherer.use(memory)
        return self._gatherer.point.memory

    def govern(self, tokens: int) -> None:
        """After a run of so many tokens: a plan with tables may go on at another point."""
        if self._gatherer:
            self._gatherer.govern(tokens)

    def gathered(self) -> dict[str, Any]:
        """`tables`: what has been read of flash; nothing where a plan has no tables."""
        return {"tables": self._gatherer.counts()} if self._gatherer else {}

    def load(self, phase: str) -> bool:
        """Build what a phase needs; False where that was done before. `run` does it as well."""
        if phase in self._bound:
            return False
        declared = self._declared(phase)
        check_fit(self.plan, [declared], self._limits)
        scratch = self._memory.scratch(declared)
        dispatches = {
            place: self._choose(dispatch, declared, scratch, gather)
            for place, dispatch, gather in dispatches_of(declared)
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
        self._transfers.write(self._memory.symbols, words)

    def advance(self, symbol: str, value: int) -> None:
        """A phase that ran last has given the symbol this value itself."""
        self._values[symbol] = value

    def write(self, buffer: str, content: npt.NDArray[Any], offset: int = 0) -> None:
        """Copy an array into a buffer, `offset` bytes after its start."""
        self._transfers.write(self._buffer(buffer), content, offset)

    def run(
        self,
        phase: str,
        fetch: Callable[[str], None] = lambda _: None,
        after: Callable[[int], None] | None = None,
    ) -> None:
        """Enqueue a phase.

        fetch  gets the name of the buffer of each fetch step
        after  gets the number of each step that ran as a dispatch, or as several
        """
        self.load(phase)
        bound = self._bound[phase]
        self._runs += 1
        if self._gatherer:
            self._gatherer.begin_run()
        with opencl_errors(f"phase {phase} failed"):
            for number, step in enumerate(bound.phase.steps):
                if isinstance(step, HostStep):
                    fetch(self.plan.buffers[int(step.args[0][-1])].name)
                elif isinstance(step, Gather):
                    self._gather(bound, number, step)
                elif isinstance(step, Prefetch):
                    self._prefetch(bound, number, step)
                elif not isinstance(step, Dispatch):
                    self._queue.finish()
                elif not self._launch(bound, (number,), step):
                    continue
                if after and isinstance(step, Dispatch | Gather):
                    after(number)
        bound.ran = True

    def read(
        self, buffer: str, dtype: str, shape: Sequence[int], first: int = 0
    ) -> npt.NDArray[Any]:
        """Elements of a buffer from element `first` on, when all work enqueued has finished."""
        return self._transfers.read(self._buffer(buffer), dtype, shape, first)

    def read_later(self, buffer: str, into: npt.NDArray[Any], first: int) -> Callable[[], None]:
        """Enqueue a read of `into`'s size; call the answer before looking at it."""
        return self._transfers.read_later(self._buffer(buffer), into, first)

    def dispatches(self, phase: str) -> int:
        """How many kernels a phase launches."""
        self.load(phase)
        return len(self._bound[phase].dispatches)

    def tensor(self, phase: str, name: str) -> npt.NDArray[Any]:
        """What a tensor holds now, in its shape at the last run (scratch may be overwritten)."""
        self.load(phase)
        ref = named(self.plan, self._bound[phase].phase, name)
        if ref is None:
            raise PocketError(f"phase {phase} has no tensor '{name}'")
        return self.argument(phase, ref)

    def argument(self, phase: str, ref: Ref) -> npt.NDArray[Any]:
        """What an argument of a dispatch holds now, in its shape at the last run."""
        bound = self._bound[phase]
        item = item_of(self.plan, bound.phase, ref)
        shape = [evaluate(dim, self._values) for dim in item.shape]
        return self._transfers.read(self._memory.of(ref, bound.scratch), item.dtype, shape)

    def name_of(self, phase: str, ref: Ref) -> str:
        """The name of the tensor that an argument of a dispatch means."""
        return item_of(self.plan, self._declared(phase), ref).name

    def start_profile(self) -> None:
        """Note from here on when each kernel runs."""
        self._timeline.start()

    def take_profile(self) -> list[Span]:
        """When each dispatch ran that was noted; ends the noting."""
        self._queue.finish()
        return self._timeline.take()

    def close(self) -> None:
        """Wait for the device and give its memory back."""
        with ExitStack() as closing:  # whatever fails before
            closing.callback(self._memory.release)
            if self._gatherer:
                closing.callback(self._gatherer.close)
            closing.callback(self._bound.clear)
            with opencl_errors("the device failed"):
                self._queue.finish()

    def _choose(
        self, step: Dispatch, phase: Phase, scratch: list[cl.Buffer], gather: Gather | None
    ) -> BoundDispatch:
        words = self._gatherer.memory(gather.table) if self._gatherer and gather else {}
        args = [words.get(ref) or self._memory.of(ref, scratch) for ref in step.args]
        view = self._memory.view
        return self._variants.choose(step, args, lambda n: view(step.args[n], phase))

    def _declared(self, phase: str) -> Phase:
        found = self.plan.phase(phase)
        if found is None:
            raise PocketError(f"the plan has no phase '{phase}'", hint=RECOMPILE)
        return found

    def _buffer(self, name: str) -> cl.Buffer:
        return self._memory.buffers[self._indices[name]]

    def _gather(self, bound: BoundPhase, number: int, step: Gather) -> None:
        """Launch the dispatches once for each part of what is selected."""
        assert self._gatherer
        source, scores = step.select.source, None
        if source is not None:  # it may have more numbers, of other rows
            memory = self._memory.of(source, bound.scratch)
            item = item_of(self.plan, bound.phase, source)
            there = math.prod(evaluate(dim, self._values) for dim in item.shape)
            count = self._gatherer.numbers(step, there)
            scores = self._transfers.read(memory, item.dtype, (count,))

        def look(ref: Ref, count: int) -> npt.NDArray[Any]:
            return self._transfers.read(self._memory.of(ref, bound.scratch), "f32", (count,))

        try:
            for launch in self._gatherer.gather(step, scores, look):
                if launch.aside is not None:
                    self._compute(bound, step, launch.slots, launch.aside)
                    continue
                self._values[RECORDS] = launch.records
                for inside, dispatch in enumerate(step.inside()):
                    if (inside >= len(step.dispatches)) == launch.first:
                        self._launch(bound, (number, inside), dispatch, step, launch.slots)
        finally:
            self._values.pop(RECORDS, None)

    def _compute(self, bound: BoundPhase, step: Gather, slots: cl.Buffer, aside: Aside) -> None:
        """What a launch would, without the device."""
        assert step.unit is not None

        def argument(ref: Ref) -> npt.NDArray[Any]:
            return self.argument(bound.phase.name, ref)

        table, transfers = self.plan.tables[step.table], self._transfers
        part = compute_aside(step, table, slots, aside, argument, transfers)
        ref = step.dispatches[0].args[step.unit.part]
        transfers.write(self._memory.of(ref, bound.scratch), part)

    def _prefetch(self, bound: BoundPhase, number: int, step: Prefetch) -> None:
        """Nothing where the point reads nothing ahead."""
        source = step.select.source
        if not self._gatherer or not self._gatherer.reads_ahead(step) or source is None:
            return
        for inside, dispatch in enumerate(step.dispatches):
            self._launch(bound, (number, inside), dispatch)
        count, memory = self.plan.tables[step.table].count, self._memory.of(source, bound.scratch)
        self._gatherer.prefetch(step, self._transfers.read(memory, "f32", (count,)))

    def _launch(
        self,
        bound: BoundPhase,
        place: Place,
        step: Dispatch,
        gather: Gather | None = None,
        slots: cl.Buffer | None = None,
    ) -> bool:
        """Whether there is anything to do."""
        dispatch, size = bound.dispatches[place], bound.grid(place, self._values)
        if not all(size):
            return False
        for number in (i for i, ref in enumerate(step.args) if slots and ref == ("slots",)):
            dispatch.kernel.set_arg(number, slots)
        try:
            local = dispatch.variant.local_size
            event = cl.enqueue_nd_range_kernel(self._queue, dispatch.kernel, size, local)
        except cl.Error as error:  # some drivers refuse sizes that they said to take
            last = dispatch.variant == step.variants[-1]
            if bound.ran or last or error.code not in OF_VARIANT:
                raise
            self._variants.refuse(dispatch.variant, str(error))
            bound.replace(place, self._choose(step, bound.phase, bound.scratch, gather))
            return self._launch(bound, place, step, gather, slots)
        kernel = self.plan.programs[dispatch.variant.program].kernel
        self._timeline.note(TimedLaunch(self._runs, bound.phase, step, kernel, event))
        return True
