"""A dispatch's variants: the kernels of a family that a device may run, and their knobs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy

from opencl_kernels import Family, Kernel, family_of
from opencl_kernels.case import Slots, as_json, c_expression, symbol_header
from opencl_kernels.device_class import DeviceClass
from opencl_kernels.family import kernels_for
from opencl_kernels.kernel import Knobs
from opencl_kernels.tuned import Table, changed, knobs_for, least_local_bytes, usual_knobs
from toolkit.errors import PocketError
from toolkit.plan.schema import Program, Variant


@dataclass
class Programs:
    """The distinct programs of a plan, by content."""

    index: dict[Program, int] = field(default_factory=dict)

    def add(self, program: Program) -> int:
        """The number of a program, which is added if it is new."""
        return self.index.setdefault(program, len(self.index))


@dataclass(frozen=True)
class Settings:
    """Choices that hold for the whole compile."""

    device_class: DeviceClass
    symbols: Sequence[Slots]  # of the plan
    batch: int
    context: int
    activations: str  # storage of values between kernels: "f32" or "f16"
    kv: str  # storage of KV states
    compute_units: int  # of the device
    local_memory: int  # of the device: bytes that a work-group may take
    tuned: Table = field(default_factory=dict)  # knobs that `tune` found
    wide: frozenset[str] = frozenset()  # names of values too large for halves


def variants_of(
    name: str, family: Family, case: Any, settings: Settings, programs: Programs
) -> tuple[Variant, ...]:
    """Variants of dispatch `name`, best first.

    Kernels that need more local memory than the device has are left out; raises if none is
    left.
    """
    kernels = kernels_for(family, settings.device_class.name, case)
    found = tuple(_fitting(kernels, case, settings, programs))
    if not found:
        raise _no_room(name, kernels, case, settings)
    return found


def _fitting(
    kernels: Sequence[Kernel], case: Any, settings: Settings, programs: Programs
) -> Iterator[Variant]:
    for kernel, usual, knobs in _with_knobs(kernels, case, settings):
        tuned = changed(knobs, usual)
        first = variant_of(kernel, case, knobs, settings.symbols, programs, tuned)
        yield first
        yield from _spare(first, kernel, case, knobs, settings, programs)


def best_knobs(family: Family, case: Any, settings: Settings) -> Knobs:
    """The knobs of the first variant that a dispatch would have; none where none has room."""
    kernels = kernels_for(family, settings.device_class.name, case)
    return next((knobs for _, _, knobs in _with_knobs(kernels, case, settings)), {})


def _with_knobs(
    kernels: Sequence[Kernel], case: Any, settings: Settings
) -> Iterator[tuple[Kernel, Knobs, Knobs]]:
    """The kernels that have room: their usual knobs, and those that they get."""
    room = settings.local_memory
    for kernel in kernels:
        usual = usual_knobs(kernel, case, settings.device_class.name, room)
        if usual is not None:
            yield kernel, usual, knobs_for(kernel, case, usual, settings.tuned, room)


def _spare(
    first: Variant,
    kernel: Kernel,
    case: Any,
    knobs: Knobs,
    settings: Settings,
    programs: Programs,
) -> Iterator[Variant]:
    """The same kernel with fewer registers or without images, as far as that is another."""
    seen = [first]
    for most in settings.device_class.spare.get(kernel.name, ()):
        fewer = {name: min(value, most.get(name, value)) for name, value in knobs.items()}
        another = variant_of(kernel, case, fewer, settings.symbols, programs)
        if another not in seen:
            seen.append(another)
            yield another


def variant_of(
    kernel: Kernel,
    case: Any,
    knobs: Knobs,
    symbols: Sequence[Slots],
    programs: Programs,
    tuned: Knobs | None = None,
) -> Variant:
    """The variant that runs a kernel on a case; its program is added to `programs`."""
    rows = {"M": c_expression(case.M)} if hasattr(case, "M") else {}
    defines = {**symbol_header(symbols), **rows, **kernel.defines(case, knobs)}
    text = tuple((key, str(value)) for key, value in defines.items())
    source, made_from = f"kernels/{kernel.source}", (as_json(case), tuned or None)
    program = Program(source, kernel.name, text, *made_from, options=kernel.options)
    global_size, local_size = kernel.grid(case, knobs)
    needs = kernel.requires(case, knobs)
    return Variant(
        programs.add(program),
        tuple(sympy.sympify(g) for g in global_size),
        tuple(local_size),
        requires=needs.features,
        local_bytes=needs.local_bytes or None,
        cut=kernel.cuts,
        images=tuple(_numbers(kernel, case, needs.images)),
    )


def _numbers(kernel: Kernel, case: Any, names: Sequence[str]) -> Iterator[int]:
    """Where arguments stand that have these names."""
    if names:  # else nobody asks what is kernel's family
        arguments = ["sym", *(each.name for each in family_of(kernel.name).arguments(case))]
        yield from map(arguments.index, names)


def _no_room(name: str, kernels: Sequence[Kernel], case: Any, settings: Settings) -> PocketError:
    """The error for a dispatch whose kernels all need too much local memory."""
    device_class = settings.device_class.name
    needed = ((least_local_bytes(k, case, device_class), k.name) for k in kernels)
    because = ", ".join(f"{kernel} takes {least} bytes or more" for least, kernel in needed)
    return PocketError(
        f"no kernel for {name} fits into the device's local memory",
        f"{because}; the device has {settings.local_memory}",
        "choose a --device with more local_memory in its profile (pocketcl devices --json)",
    )
