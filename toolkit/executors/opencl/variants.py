"""Which variant of each dispatch works on a device: built, and its kernel ready to launch."""

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyopencl as cl

from toolkit.executors.opencl.device_fit import (
    DeviceLimits,
    excess,
    lack,
    nothing_runs,
    program_name,
    spill,
)
from toolkit.executors.opencl.errors import opencl_errors
from toolkit.plan.schema import Dispatch, Plan, Variant

T = TypeVar("T")
View: TypeAlias = Callable[[int], tuple[cl.Image, np.int32]]  # PlanMemory.view
NEWER_POCL = "this PoCL is older than the processor: apt-get install pocl-opencl-icd"
UNEDIT = "undo edits in kernels/, or compile the model again for this device"


@dataclass(frozen=True)
class BoundDispatch:
    """A dispatch with the variant that this device takes and a kernel object of its own."""

    variant: Variant
    kernel: cl.Kernel


class VariantChoice:
    """Chooses variants of a plan's dispatches and builds each program once."""

    def __init__(
        self, path: Path, plan: Plan, queue: cl.CommandQueue, limits: DeviceLimits
    ) -> None:
        self._path, self._plan, self._queue, self._limits = path, plan, queue, limits
        self._device = queue.device
        # by source, defines and options: a text may hold several kernels; a string: why it didn't
        self._built: dict[tuple[object, ...], cl.Program | str] = {}
        self._refused: dict[Variant, str] = {}  # and why, at a launch
        self._noted: set[str] = set()

    def choose(self, step: Dispatch, arguments: Sequence[cl.Buffer], view: View) -> BoundDispatch:
        """The first variant that the device has everything for, that builds and that fits.

        One that spills is taken where no other works. `view` is of an argument's number.
        """
        reasons: list[str] = []
        for may_spill in (False, True):
            reasons.clear()
            if chosen := self._first_that_works(step, arguments, view, may_spill, reasons):
                return chosen
        hint = NEWER_POCL if "unknown target CPU" in "".join(reasons) else UNEDIT
        raise nothing_runs(step, self._limits, reasons, hint)

    def _first_that_works(
        self,
        step: Dispatch,
        arguments: Sequence[cl.Buffer],
        view: View,
        may_spill: bool,
        reasons: list[str],  # against those before it, or against all
    ) -> BoundDispatch | None:
        failures: list[str] = []  # the reasons that nobody could know before a build
        for variant in step.variants:
            missing = lack(self._plan, step, variant, self._limits)
            found = missing or self._usable(variant, step, arguments, view, may_spill)
            if not isinstance(found, str):
                self._note(failures)
                return BoundDispatch(variant, found)
            reasons.append(f"{program_name(self._plan, variant)} {found}")
            failures += [] if missing else reasons[-1:]
        return None

    def refuse(self, variant: Variant, why: str) -> None:
        """The device does not launch this variant: it is not chosen again."""
        self._refused[variant] = f"is not launched here: {why}"

    def _note(self, failures: Sequence[str]) -> None:
        """Many dispatches share a variant that fails here: say it once."""
        said = "\n".join(failures)
        if said and said not in self._noted:
            self._noted.add(said)
            print(f"note: {said}\nnote: the next variant is used instead", file=sys.stderr)

    def _usable(
        self,
        variant: Variant,
        step: Dispatch,
        arguments: Sequence[cl.Buffer],
        view: View,
        may_spill: bool,
    ) -> cl.Kernel | str:
        """The kernel of a variant, ready to launch, or why it can't be used here."""
        built = self._refused.get(variant) or self._program(variant.program)
        if isinstance(built, str):
            return built
        name = self._plan.programs[variant.program].kernel
        try:
            kernel = _with_memory(self._queue, lambda: cl.Kernel(built, name))
        except cl.Error as error:
            return f"gives no kernel: {error}"
        spilled = "" if may_spill else spill(kernel, self._device, self._limits)
        unfit = excess(kernel, variant, self._device, self._limits) or spilled
        if unfit:
            return unfit
        try:
            views = [each for number in variant.images for each in view(number)]
        except cl.Error as error:  # some drivers refuse images that they said to take
            return f"gets no image here: {error}"
        return self._bound(kernel, step, [*arguments, *views])

    def _bound(
        self, kernel: cl.Kernel, step: Dispatch, arguments: Sequence[Any]
    ) -> cl.Kernel | str:
        """One kernel object per dispatch, bound once: recorded steps need that (see the runner)."""
        if kernel.num_args != len(arguments):
            return f"takes {kernel.num_args} arguments, the plan gives {len(arguments)}"
        with opencl_errors(f"an argument of {step.name} is not accepted", UNEDIT):
            for number, given in enumerate(arguments):
                kernel.set_arg(number, given)
        return kernel

    def _program(self, index: int) -> cl.Program | str:
        """The built program, or the first lines of why it doesn't build."""
        program = self._plan.programs[index]
        key = (program.source, program.defines, program.options)
        if key not in self._built:
            header = "".join(f"#define {name} {value}\n" for name, value in program.defines)
            text = header + (self._path / program.source).read_text("utf-8", "replace")
            self._built[key] = _build(self._queue, text, program.options)
        return self._built[key]


def _build(queue: cl.CommandQueue, text: str, options: Sequence[str]) -> cl.Program | str:
    def build() -> cl.Program:
        made: cl.Program = cl.Program(queue.context, text).build(options=list(options))
        return made

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # compilers talk; only failures matter here
        try:
            return _with_memory(queue, build)
        except cl.Error as error:
            lines = [line.strip() for line in str(error).splitlines() if "error" in line]
            return "does not build:\n" + ("\n".join(lines[:3]) or str(error)[:300])


def _with_memory(queue: cl.CommandQueue, compile_it: Callable[[], T]) -> T:
    """Try again, once, where a compiler ran out of memory: it has more when nothing runs."""
    try:
        return compile_it()
    except cl.Error as error:
        if error.code != cl.status_code.OUT_OF_HOST_MEMORY:
            raise
        queue.finish()
        return compile_it()
