"""Whether a variant of a dispatch can run on an OpenCL device, before and after it is built.

The runner asks the same in android_runner/build/device_fit.cpp.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyopencl as cl

from toolkit.devices.features import device_features
from toolkit.errors import PocketError
from toolkit.plan.schema import Dispatch, Phase, Plan, Variant

KERNEL = cl.kernel_work_group_info
COMPILE_FOR_IT = "compile the model for this device"


@dataclass(frozen=True)
class DeviceLimits:
    """What a variant may require of a device."""

    name: str  # of the device, with its driver's version
    features: frozenset[str]
    local_memory: int  # bytes of a work-group


def limits_of(device: cl.Device) -> DeviceLimits:
    """What this device says of itself."""
    name = f"{device.name.strip()} (driver {device.driver_version})"
    return DeviceLimits(name, frozenset(device_features(device)), int(device.local_mem_size))


def check_fit(plan: Plan, phases: Iterable[Phase], device: DeviceLimits) -> None:
    """Raise where a dispatch has no variant that the device has everything for.

    To be called before anything is allocated or built.
    """
    for phase in phases:
        for step in phase.dispatches():
            reasons = [
                f"{program_name(plan, variant)} {missing}"
                for variant in step.variants
                if (missing := lack(variant, device))
            ]
            if len(reasons) == len(step.variants):
                raise nothing_runs(step, device, reasons, COMPILE_FOR_IT)


def nothing_runs(
    step: Dispatch, device: DeviceLimits, reasons: Sequence[str], hint: str
) -> PocketError:
    """The error for a dispatch none of whose variants works, with the reason against each."""
    return PocketError(f"no variant of {step.name} runs on {device.name}", "\n".join(reasons), hint)


def program_name(plan: Plan, variant: Variant) -> str:
    """As errors call the program of a variant."""
    program = plan.programs[variant.program]
    return f"{program.source} ({program.kernel})"


def lack(variant: Variant, device: DeviceLimits) -> str:
    """What the plan says that a variant needs, and the device hasn't; empty where it has all."""
    missing = [f for f in variant.requires if f not in device.features]
    if missing:
        return f"needs {missing[0]}, which the device lacks"
    needed = variant.local_bytes or 0
    return f"needs {_too_much(needed, device)}" if needed > device.local_memory else ""


def excess(kernel: cl.Kernel, variant: Variant, device: cl.Device, limits: DeviceLimits) -> str:
    """What a built kernel takes beyond what the device has: an edited one, or by its driver."""
    try:
        taken = kernel.get_work_group_info(KERNEL.LOCAL_MEM_SIZE, device)
        most = kernel.get_work_group_info(KERNEL.WORK_GROUP_SIZE, device)
    except cl.Error:  # a driver that can't tell will refuse the launch
        return ""
    if taken > limits.local_memory:
        return f"takes {_too_much(taken, limits)}"
    small = math.prod(variant.local_size) > most
    return f"allows work-groups of {most} items here" if small else ""


def _too_much(taken: int, device: DeviceLimits) -> str:
    return f"{taken} bytes of local memory, the device has {device.local_memory}"
