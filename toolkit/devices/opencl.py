"""The OpenCL devices of this computer."""

import re
from typing import Any

from toolkit.devices.features import device_features

NO_DEVICE = "OpenCL lists no device: no driver is installed"


def opencl_devices() -> list[dict[str, Any]]:
    """The OpenCL devices here; Oclgrind is a checker and isn't listed."""
    try:
        import pyopencl as cl

        platforms = cl.get_platforms()
    except Exception:  # ImportError, or the loader's "no platform": either way there is no device
        return []
    found = []
    for p in platforms:
        try:
            found += [_describe(p, d) for d in p.get_devices() if "Oclgrind" not in p.name]
        except cl.Error:  # a driver without a device
            continue
    return found


def best_device() -> dict[str, Any] | None:
    """The device that compile and run mean when none is named: a GPU, else the newest driver."""

    def rank(device: dict[str, Any]) -> tuple[bool, list[int]]:
        return device["type"] != "cpu", [int(n) for n in re.findall(r"\d+", device["driver"])[:2]]

    return max(opencl_devices(), key=rank, default=None)


def _describe(p: Any, d: Any) -> dict[str, Any]:
    kinds = {2: "cpu", 4: "gpu", 8: "accelerator"}  # CL_DEVICE_TYPE_*
    return {
        "name": d.name.strip(),
        "platform": p.name.strip(),
        "driver": d.driver_version,
        "type": next((kind for bit, kind in kinds.items() if d.type & bit), "other"),
        "compute_units": d.max_compute_units,
        "memory_bytes": d.global_mem_size,
        "align": d.mem_base_addr_align // 8,
        "local_memory_bytes": d.local_mem_size,
        "features": device_features(d),
    }
