"""Profiles of devices, from devices.yaml, from probes and from the user."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

from opencl_kernels.device_class import CLASSES
from toolkit.devices.driver_faults import KnownFault, known_fault
from toolkit.devices.match import Profile
from toolkit.errors import PocketError
from toolkit.files import write_text
from toolkit.paths import config_dir
from toolkit.plan.schema import FEATURES

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is eight times as fast
UNITS = 8  # compute units of a GPU whose entry does not give them
LOCAL_MEMORY = 32768  # bytes per work-group that OpenCL 1.1 and later guarantee
# In the wheel, and in a checkout.
SHIPPED = (
    Path(__file__).parents[1] / "facts/devices.yaml",
    Path(__file__).parents[2] / "devices.yaml",
)


def profiles() -> dict[str, Profile]:
    """Every profile by name: shipped, measured by `devices --probe`, the user's own.

    The keys of a later profile override those of an earlier one of the same name. Each file has one
    author: PocketCL the shipped one, a probe those in devices.d, the user devices.yaml.
    """
    found: dict[str, Profile] = {}
    classes: dict[str, Profile] = {}
    for path in _files():
        body = _shipped_body() if path in SHIPPED else _read(path)
        classes |= body.get("classes", {})
        origin = "shipped" if path in SHIPPED else str(path)
        for name, facts in body.get("devices", {}).items():
            found[name] = {**found.get(name, {}), **facts, "from": origin}
    return {name: _checked(name, facts, classes) for name, facts in found.items()}


def class_facts(name: str) -> Profile:
    """What the shipped file says of a class."""
    found: Profile = _shipped_body()["classes"].get(name, {})
    return found


@cache
def driver_faults() -> tuple[KnownFault, ...]:
    """Every fault of a driver that is known."""
    return tuple(map(known_fault, cast(Any, _shipped_body().get("drivers", []))))


def known_faults(gpu: str, driver: str) -> list[KnownFault]:
    """The known faults of a GPU's driver: its names and CL_DRIVER_VERSION."""
    return [fault for fault in driver_faults() if fault.concerns(gpu, driver)]


def faults_of(device: Mapping[str, Any]) -> list[KnownFault]:
    """The known faults of an OpenCL device, as `opencl_devices` and the runner describe it."""
    return known_faults(f"{device['platform']} {device['name']}", str(device["driver"]))


def write_measured(name: str, facts: Profile) -> Path:
    """Keep a profile that was measured here; an earlier one of that name is replaced."""
    path = measured_file(name)
    _checked(name, {**facts, "from": str(path)}, _shipped_body()["classes"])
    text = yaml.safe_dump({"devices": {name: facts}}, sort_keys=False, width=110)
    who = "`pocketcl devices --probe` or `bench --kernels`"
    write_text(path, f"# Measured by {who}; devices.yaml overrules it.\n{text}")
    return path


def measured(name: str) -> Profile:
    """What was kept under this name before, as far as it was measured; perhaps nothing."""
    path = measured_file(name)
    body = _read(path) if path.exists() else {}
    found: Profile = body.get("devices", {}).get(name, {})
    return found


def measured_file(name: str) -> Path:
    """Where `devices --probe --save NAME` keeps what it found."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise PocketError(
            f"'{name}' cannot be the name of a device",
            "it becomes a file name: lower-case letters, digits, - . _",
            "choose a name like my-phone",
        )
    return config_dir() / "devices.d" / f"{name}.yaml"


def match(platform: str, device: str, known: Mapping[str, Profile]) -> str:
    """The profile whose `match` words are in the device's names; `generic` if there is none."""
    names = f"{platform}\n{device}".lower()
    for name, facts in known.items():
        if any(word.lower() in names for word in facts.get("match", ())):
            return name
    return "generic"


def _checked(name: str, facts: Profile, classes: Mapping[str, Profile]) -> Profile:
    where, kind = facts["from"], facts.get("class")
    if kind not in CLASSES:
        raise _fault(
            where, name, f"its class is {kind!r}", f"set class to one of {', '.join(CLASSES)}"
        )
    of_class = classes.get(kind, {})
    full = {"local_memory": LOCAL_MEMORY, **of_class, **facts}
    full["kernels"] = _kernels(of_class, where, name) | _kernels(facts, where, name)
    align = full.get("align")
    if not isinstance(align, int) or align <= 0 or align & (align - 1):
        raise _fault(where, name, f"its align is {align!r}", "set it to bytes, a power of two")
    units = full.get("compute_units", UNITS)
    if not isinstance(units, int) or units <= 0:
        raise _fault(where, name, f"its compute_units are {units!r}", "set it to their number")
    room = full["local_memory"]
    if not isinstance(room, int) or room <= 0:
        raise _fault(where, name, f"its local_memory is {room!r}", "set it to bytes")
    unknown = [f for f in full.get("features", ()) if f not in FEATURES]
    if unknown:
        raise _fault(
            where, name, f"feature {unknown[0]!r} is unknown", f"use some of {', '.join(FEATURES)}"
        )
    return full


def _kernels(entry: Profile, where: str, name: str) -> Profile:
    """Shares of the device's limits by family of kernels, which estimates read."""
    found = entry.get("kernels", {})
    if not isinstance(found, dict):
        raise _fault(where, name, f"its kernels are {found!r:.40}", "set them by family")
    return found


def _read(path: Path) -> Profile:
    try:
        body = yaml.load(path.read_text(encoding="utf-8"), LOADER) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PocketError(f"{path} cannot be read", error, "repair or remove it") from None
    named = ("classes", "devices")
    sections = [body.get(name, {}) for name in named] if isinstance(body, dict) else [None]
    if not all(
        isinstance(s, dict) and all(isinstance(e, dict) for e in s.values()) for s in sections
    ):
        raise PocketError(
            f"{path} is not a list of devices",
            "it needs the form  devices: {NAME: {class: …}}",
            "take the shipped devices.yaml as an example",
        )
    return body


def _fault(where: str, name: str, because: str, hint: str) -> PocketError:
    return PocketError(f"device '{name}' in {where} is not usable", because, hint)


def _files() -> list[Path]:
    measured = sorted((config_dir() / "devices.d").glob("*.yaml"))
    return [_shipped(), *measured, *([user_file()] if user_file().exists() else [])]


@cache
def _shipped_body() -> Profile:
    return _read(_shipped())


def _shipped() -> Path:
    return next(path for path in SHIPPED if path.exists())


def user_file() -> Path:
    """The file of the user's own profiles; it may not exist."""
    return config_dir() / "devices.yaml"
