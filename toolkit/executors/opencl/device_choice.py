"""The device that a plan runs on."""

import os

import pyopencl as cl

from toolkit.devices.rank import is_named, rank_of
from toolkit.errors import PocketError
from toolkit.executors.interface import DeviceInfo
from toolkit.executors.opencl.errors import opencl_errors


def choose_device(wanted: str | None = None, for_cpu: bool = True) -> cl.Device:
    """The best device whose platform or name contains `wanted`, by default $POCKETCL_PLATFORM.

    for_cpu  a CPU is better than another device: the plan is made for one
    """
    wanted = wanted or os.environ.get("POCKETCL_PLATFORM", "")
    with opencl_errors("OpenCL does not work here"):
        devices = [d for p in cl.get_platforms() for d in _devices(p)]
    fitting = [d for d in devices if is_named(_full_name(d), wanted)]
    if not fitting:
        because = f"here are {', '.join(d.name.strip() for d in devices) or 'none'}"
        what = f"no OpenCL device matches '{wanted}'" if wanted else "no OpenCL device is here"
        raise PocketError(what, because, "pocketcl doctor")

    def rank(device: cl.Device) -> tuple[bool, bool, list[int]]:
        is_cpu = bool(device.type & cl.device_type.CPU)
        return rank_of(device.platform.name.strip(), is_cpu, device.driver_version, for_cpu)

    return max(fitting, key=rank)


def info_of(device: cl.Device) -> DeviceInfo:
    """What an executor says of its device."""
    platform = device.platform
    label = f"{device.name.strip()}, {platform.version.strip()}"
    units = int(device.max_compute_units)
    return DeviceInfo(label, units, device.driver_version, platform.name.strip())


def _full_name(device: cl.Device) -> str:
    platform = device.platform
    return f"{platform.name.strip()}, {platform.version.strip()}, {device.name.strip()}"


def _devices(platform: cl.Platform) -> list[cl.Device]:
    try:
        return platform.get_devices()
    except cl.Error:  # a driver without a device
        return []
