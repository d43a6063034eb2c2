"""What can be compiled for: OpenCL devices here, phones on adb, and every profile."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from opencl_kernels.device_class import is_cpu_class
from toolkit.arguments import text_of
from toolkit.devices import opencl
from toolkit.devices.match import Profile, match_phone, socs
from toolkit.devices.names import named, unknown_device
from toolkit.devices.profiles import UNITS, faults_of, known_faults, match, profiles
from toolkit.errors import PocketError
from toolkit.phone.about import about, check_system
from toolkit.phone.adb import Phone, Seen, all_phones
from toolkit.plan.schema import FEATURES


def resolve_device(name: str | None = None, serial: str | None = None) -> Profile:
    """The profile of a named device, or of the one here: the keys that a plan depends on.

    name    of a profile, SoC or GPU; `phone` for the one on adb; or the serial of a phone
    serial  which phone
    returns name, class, align, features, compute_units, local_memory
    """
    known = profiles()
    if name is None:
        return _here(known)
    name = text_of(name, "a device")
    if name == "phone":
        return _on_phone(serial)
    if (found := named(name, known)) is not None:
        return _essence(found, known[found])
    if name in (phone.serial for phone in _seen()):
        return _on_phone(name)
    raise unknown_device(name, known)


def overview() -> dict[str, Any]:
    """What `pocketcl devices` reports."""
    known = profiles()
    here = [
        {
            **d,
            "profile": match(d["platform"], d["name"], known),
            "known_faults": [fault.note() for fault in faults_of(d)],
        }
        for d in opencl.opencl_devices()
    ]
    listed = [{"name": name, **facts} for name, facts in known.items()]
    return {"opencl": here, "phones": phones(), "profiles": listed}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The report of `pocketcl devices` for people."""
    yield "OpenCL devices here"
    for d in found["opencl"]:
        yield f"  {d['profile']:<10}{d['name']} ({d['platform']} {d['driver']}), {d['type']}"
        yield from _fault_lines(d)
    yield from [] if found["opencl"] else ["  none: pocketcl doctor says what is missing"]
    yield "Phones"
    for p in found["phones"]:
        yield f"  {p['serial']}  {_phone_line(p)}"
        yield from _fault_lines(p)
    yield from [] if found["phones"] else ["  none"]
    yield "Profiles (--device NAME or SoC)"
    for p in found["profiles"]:
        what = p.get("gpu") or p.get("about", "")
        soc = ", ".join(socs(p))
        yield f"  {p['name']:<26}{soc:<20}{p['class']:<9}{what}".rstrip()


def _fault_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"    known fault: {fault}" for fault in facts.get("known_faults", ()))


def _phone_line(facts: Mapping[str, Any]) -> str:
    if "soc" not in facts:
        return f"{facts['model'] or 'a phone'}: {facts['state']} (pocketcl doctor)"
    words = [facts["model"], facts["soc"], facts["gpu"], facts["driver"]]
    words += [f"Android {facts['android']}", f"profile {facts['profile']}"]
    return ", ".join(filter(None, words))


def phones() -> list[dict[str, Any]]:
    """Phones that adb lists: serial, state (`device` when usable), model; more of usable ones."""
    return [_phone(seen) for seen in _seen()]


def _seen() -> list[Seen]:
    try:
        return all_phones()
    except PocketError:  # doctor reports what is wrong with adb
        return []


def _phone(seen: Seen) -> dict[str, Any]:
    facts: dict[str, Any] = asdict(seen)
    if seen.state != "device":
        return facts
    try:
        found = about(Phone(seen.serial, seen.model))
    except PocketError as error:  # it was unplugged meanwhile
        return {**facts, "state": str(error)}
    named = {"soc": found.soc, "android": found.android, "gpu": found.gpu, "driver": found.driver}
    named["profile"] = profile_of(found.soc, found.gpu, found.driver)
    faults = [fault.note() for fault in known_faults(found.gpu, found.driver)]
    return {**facts, **named, "known_faults": faults}


def _on_phone(serial: str | None) -> Profile:
    """The profile of a phone, with no feature that its own OpenCL lacks."""
    from toolkit.phone.runner import PhoneRunner

    runner = PhoneRunner(serial)
    check_system(runner.about)
    runner.install_runner()
    device = runner.opencl()[0]
    gpu = f"{device['name']}, {device['platform']}"
    name = profile_of(runner.about.soc, gpu, device["driver"])
    return _as_reported(name, profiles()[name], device)


def profile_of(soc: str, gpu: str, driver: str) -> str:
    """The name of a phone's profile."""
    return match_phone({"ro.soc.model": soc}, gpu, driver, profiles())


def _here(known: Mapping[str, Profile]) -> Profile:
    device = opencl.best_device()
    if device is None:
        raise PocketError(
            "there is no OpenCL device here to compile for",
            opencl.NO_DEVICE,
            "compile for another with --device NAME (pocketcl devices), or run pocketcl doctor",
        )
    name = match(device["platform"], device["name"], known)
    return _as_reported(name, known[name], device)


def _as_reported(name: str, facts: Profile, device: Mapping[str, Any]) -> Profile:
    """A profile, limited to what the device itself reports."""
    profile = _essence(name, facts)
    profile["align"] = max(profile["align"], device["align"])
    profile["features"] = [f for f in profile["features"] if f in device["features"]]
    profile["compute_units"] = device["compute_units"]
    profile["local_memory"] = min(profile["local_memory"], device["local_memory_bytes"])
    return profile


def _essence(name: str, facts: Profile) -> Profile:
    """The keys that a plan depends on; the rest of an entry is for people and estimates."""
    features = [f for f in FEATURES if f in facts.get("features", ())]
    units = os.cpu_count() or 1 if is_cpu_class(facts["class"]) else UNITS
    return {
        "name": name,
        "class": facts["class"],
        "align": facts["align"],
        "features": features,
        "compute_units": facts.get("compute_units", units),
        "local_memory": facts["local_memory"],
    }
