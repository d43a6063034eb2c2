"""Whether a variant of a dispatch can run on an OpenCL device, before and after it is built.

The runner asks the same in android_runner/build/device_fit.cpp.
"""

import math

import pyopencl as cl

from toolkit.devices.features import device_features
from toolkit.plan.schema import Variant

KERNEL = cl.kernel_work_group_info


def lack(variant: Variant, device: cl.Device) -> str:
    """What the plan says that a variant needs, and the device hasn't; empty where it has all."""
    missing = [f for f in variant.requires if f not in device_features(device)]
    if missing:
        return f"it needs {missing[0]}"
    needed = variant.local_bytes or 0
    return f"it needs {_too_much(needed, device)}" if needed > device.local_mem_size else ""


def excess(kernel: cl.Kernel, variant: Variant, device: cl.Device) -> str:
    """What a built kernel takes beyond what the device has: an edited one, or by its driver."""
    try:
        taken = kernel.get_work_group_info(KERNEL.LOCAL_MEM_SIZE, device)
        most = kernel.get_work_group_info(KERNEL.WORK_GROUP_SIZE, device)
    except cl.Error:  # a driver that can't tell will refuse the launch
        return ""
    if taken > device.local_mem_size:
        return f"it takes {_too_much(taken, device)}"
    small = math.prod(variant.local_size) > most
    return f"it allows work-groups of {most} items here" if small else ""


def _too_much(taken: int, device: cl.Device) -> str:
    return f"{taken} bytes of local memory, the device has {device.local_mem_size}"
