"""Which variant of each dispatch works on a device: built, and its kernel ready to launch."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyopencl as cl

from toolkit.errors import PocketError
from toolkit.executors.opencl.device_fit import (
    excess,
    lack,
    limits_of,
    nothing_runs,
    program_name,
)
from toolkit.executors.opencl.errors import opencl_errors
from toolkit.plan.schema import Dispatch, Plan, Variant

NEWER_POCL = "this PoCL is older than the processor: apt-get install pocl-opencl-icd"
UNEDIT = "undo edits in kernels/, or compile the model again for this device"


@dataclass(frozen=True)
class BoundDispatch:
    """A dispatch with the variant that this device takes and a kernel object of its own."""

    variant: Variant
    kernel: cl.Kernel


class VariantChoice:
    """Chooses variants of a plan's dispatches and builds each program once."""

    def __init__(self, path: Path, plan: Plan, context: cl.Context) -> None:
        self._path, self._plan, self._context = path, plan, context
        self._device = context.devices[0]
        self._limits = limits_of(self._device)
        # by source, defines and options: a text may hold several kernels; a string: why it didn't
        self._built: dict[tuple[object, ...], cl.Program | str] = {}

    def choose(self, step: Dispatch, arguments: Sequence[cl.Buffer]) -> BoundDispatch:
        """The first variant that the device has everything for, that builds and that fits."""
        reasons = []
        for variant in step.variants:
            found = self._usable(variant, step, arguments)
            if not isinstance(found, str):
                return BoundDispatch(variant, found)
            reasons.append(f"{program_name(self._plan, variant)} {found}")
        hint = NEWER_POCL if "unknown target CPU" in "".join(reasons) else UNEDIT
        raise nothing_runs(step, self._limits, reasons, hint)

    def _usable(
        self, variant: Variant, step: Dispatch, arguments: Sequence[cl.Buffer]
    ) -> cl.Kernel | str:
        """The kernel of a variant, ready to launch, or why it can't be used here."""
        built = lack(variant, self._limits) or self._program(variant.program)
        if isinstance(built, str):
            return built
        kernel = self._kernel(built, variant, step, arguments)
        return excess(kernel, variant, self._device, self._limits) or kernel

    def _kernel(
        self, built: cl.Program, variant: Variant, step: Dispatch, arguments: Sequence[cl.Buffer]
    ) -> cl.Kernel:
        """One kernel object per dispatch, bound once: recorded steps need that (see the runner)."""
        program = self._plan.programs[variant.program]
        what = f"{program.source}: no usable kernel {program.kernel} for {step.name}"
        with opencl_errors(what, UNEDIT):
            kernel = cl.Kernel(built, program.kernel)
            for number, memory in enumerate(arguments):
                kernel.set_arg(number, memory)
        if kernel.num_args != len(arguments):
            because = f"{program.kernel} takes {kernel.num_args}, the plan gives {len(arguments)}"
            raise PocketError(f"wrong number of arguments for {step.name}", because, UNEDIT)
        return kernel

    def _program(self, index: int) -> cl.Program | str:
        """The built program, or the first lines of why it doesn't build."""
        program = self._plan.programs[index]
        key = (program.source, program.defines, program.options)
        if key not in self._built:
            header = "".join(f"#define {name} {value}\n" for name, value in program.defines)
            text = header + (self._path / program.source).read_text("utf-8", "replace")
            self._built[key] = _build(self._context, text, program.options)
        return self._built[key]


def _build(context: cl.Context, text: str, options: Sequence[str]) -> cl.Program | str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # compilers talk; only failures matter here
        try:
            built: cl.Program = cl.Program(context, text).build(options=list(options))
            return built
        except cl.Error as error:
            lines = [line.strip() for line in str(error).splitlines() if "error" in line]
            return "does not build:\n" + ("\n".join(lines[:3]) or str(error)[:300])
