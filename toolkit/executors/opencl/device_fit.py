"""Whether a variant of a dispatch can run on an OpenCL device, before and after it is built.

The runner asks the same in android_runner/build/device_fit.cpp.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyopencl as cl

from toolkit.devices.driver_faults import concerns
from toolkit.devices.features import SHUFFLED, answer, device_features, opencl_version
from toolkit.errors import PocketError
from toolkit.plan.schema import TEXEL, Dispatch, Phase, Plan, Ref, Variant

KERNEL = cl.kernel_work_group_info
MOST_TEXELS = 2**31 - 1  # kernels count them by int
COMPILE_FOR_IT = "compile the model for this device"
WITHOUT_FAULT = 'a newer driver; or take the line out of "drivers" in plan.json to try it'


@dataclass(frozen=True)
class DeviceLimits:
    """What a variant may require of a device."""

    device: str
    driver: str  # CL_DRIVER_VERSION
    features: frozenset[str]
    local_memory: int  # bytes of a work-group
    is_cpu: bool = True
    image_texels: int = 0  # of an image over a buffer, at most

    @property
    def name(self) -> str:
        """As errors call it."""
        return f"{self.device} (driver {self.driver})"


def limits_of(device: cl.Device) -> DeviceLimits:
    """What this device says of itself."""
    return DeviceLimits(
        device.name.strip(),
        device.driver_version,
        frozenset(device_features(device)),
        int(device.local_mem_size),
        bool(device.type & cl.device_type.CPU),
        answer(device, cl.device_info.IMAGE_MAX_BUFFER_SIZE, 0),
    )


def check_fit(plan: Plan, phases: Iterable[Phase], device: DeviceLimits) -> None:
    """Raise where a dispatch has no variant that the device has everything for.

    To be called before anything is allocated or built.
    """
    for phase in phases:
        for step in phase.dispatches():
            reasons = [
                f"{program_name(plan, variant)} {missing}"
                for variant in step.variants
                if (missing := lack(plan, step, variant, device))
            ]
            if len(reasons) == len(step.variants):
                left_out = any(fault(plan, variant, device) for variant in step.variants)
                raise nothing_runs(
                    step, device, reasons, WITHOUT_FAULT if left_out else COMPILE_FOR_IT
                )


def nothing_runs(
    step: Dispatch, device: DeviceLimits, reasons: Sequence[str], hint: str
) -> PocketError:
    """The error for a dispatch none of whose variants works, with the reason against each."""
    return PocketError(f"no variant of {step.name} runs on {device.name}", "\n".join(reasons), hint)


def program_name(plan: Plan, variant: Variant) -> str:
    """As errors call the program of a variant."""
    program = plan.programs[variant.program]
    return f"{program.source} ({program.kernel})"


def lack(plan: Plan, step: Dispatch, variant: Variant, device: DeviceLimits) -> str:
    """What the plan says that a variant needs, and the device hasn't; empty where it has all."""
    missing = [f for f in variant.requires if f not in device.features]
    if missing:
        return f"needs {missing[0]}, which the device lacks"
    needed = variant.local_bytes or 0
    if needed > device.local_memory:
        return f"needs {_too_much(needed, device)}"
    texels = max((_texels(plan, step.args[number]) for number in variant.images), default=0)
    if texels > min(device.image_texels, MOST_TEXELS):
        return f"needs an image of {texels} texels, the device allows {device.image_texels}"
    return fault(plan, variant, device)


def fault(plan: Plan, variant: Variant, device: DeviceLimits) -> str:
    """Why a variant is passed over with this driver; empty where no fault of it is known."""
    for known in plan.drivers:
        if concerns(known, device.driver) and plan.needs(variant) & set(known.without):
            return f"is left out with this driver: {known.fault}"
    return ""


def excess(kernel: cl.Kernel, variant: Variant, device: cl.Device, limits: DeviceLimits) -> str:
    """What a built kernel takes beyond what the device has: an edited one, or by its driver."""
    taken = _ask(kernel, device, KERNEL.LOCAL_MEM_SIZE)
    if taken > limits.local_memory:
        return f"takes {_too_much(taken, limits)}"
    most = _ask(kernel, device, KERNEL.WORK_GROUP_SIZE)
    small = 0 < most < math.prod(variant.local_size)
    if small:
        return f"allows work-groups of {most} items here"
    return _narrow(kernel, variant, device) if "shuffles" in variant.requires else ""


def spill(kernel: cl.Kernel, device: cl.Device, limits: DeviceLimits) -> str:
    """That a GPU keeps in memory what a work-item should have in registers: right, and slow.

    Empty where it doesn't. On a processor private memory lies in its caches anyway.
    """
    spilled = 0 if limits.is_cpu else _ask(kernel, device, KERNEL.PRIVATE_MEM_SIZE)
    return f"spills {spilled} bytes of each work-item into memory" if spilled else ""


def _ask(kernel: cl.Kernel, device: cl.Device, what: int) -> int:
    """The driver's answer; 0 from one that can't tell: it will refuse the launch."""
    try:
        answer: Any = kernel.get_work_group_info(what, device)
        return int(answer)
    except cl.Error:
        return 0


def _narrow(kernel: cl.Kernel, variant: Variant, device: cl.Device) -> str:
    """That its sub-groups are smaller than those that `shuffles` means, or of unknown size."""
    size = _sub_group(kernel, device, variant.local_size)
    if size >= SHUFFLED:
        return ""
    found = f"has sub-groups of {size} items here" if size else "has sub-groups of unknown size"
    return f"{found}, its shuffles need {SHUFFLED}"


def _sub_group(kernel: cl.Kernel, device: cl.Device, local_size: Sequence[int]) -> int:
    """Items of a sub-group; 0 from a driver that can't tell, as all before OpenCL 2.1.

    pyopencl doesn't have the extension's function, which older ones may offer.
    """
    if opencl_version(device) < (2, 1):
        return 0
    asked = cl.kernel_sub_group_info.MAX_SUB_GROUP_SIZE_FOR_NDRANGE
    try:
        answer: Any = kernel.get_sub_group_info(device, asked, list(local_size))
        return int(answer)
    except cl.Error:
        return 0


def _texels(plan: Plan, ref: Ref) -> int:
    """Of all the memory that an argument lies in: the arena as the largest phase needs it."""
    kind, index = ref[0], int(ref[-1])
    if kind == "scratch":
        return max(phase.arena_bytes for phase in plan.phases) // TEXEL
    if kind == "weight":
        return plan.files[plan.weights[index].file].bytes // TEXEL
    return plan.buffers[index].bytes // TEXEL


def _too_much(taken: int, device: DeviceLimits) -> str:
    return f"{taken} bytes of local memory, the device has {device.local_memory}"
