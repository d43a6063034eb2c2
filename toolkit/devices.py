"""What can be compiled for: profiles (devices.yaml), OpenCL devices here, phones on adb."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, cast

import yaml

from toolkit.adb import Phone, Seen, all_phones
from toolkit.atomic import write_text
from toolkit.device_match import driver_notes, match_phone, socs
from toolkit.errors import PocketError
from toolkit.paths import config_dir
from toolkit.phone import about, check_system
from toolkit.plan import FEATURES

Profile: TypeAlias = dict[str, Any]
UNITS = 8  # compute units of a GPU whose entry says nothing of them
CLASSES = ("cpu", "adreno", "mali", "generic")
# In the wheel, and in a checkout.
SHIPPED = (Path(__file__).parent / "facts/devices.yaml", Path(__file__).parents[1] / "devices.yaml")


def resolve_device(name: str | None = None, serial: str | None = None) -> Profile:
    """The {name, class, align, features, compute_units} of a named device, or the one here.

    `phone` is the phone on adb, `serial` which one.
    """
    known = profiles()
    if name == "phone":
        return _on_phone(serial)
    if name is None:
        return _here(known)
    wanted = name.lower()
    for key, facts in known.items():
        if wanted in (key.lower(), *(soc.lower() for soc in socs(facts))):
            return _essence(key, facts)
    raise PocketError(
        f"no device is called '{name}'",
        f"the profiles are {', '.join(known)}",
        f"one of these or its SoC, or a profile of your own in {_user_file()}",
    )


def profiles() -> dict[str, Profile]:
    """Every profile by name: shipped, measured by `devices --probe`, the user's own.

    A later one changes and joins an earlier one of its name. Each file has one author: the shipped
    one is PocketCL's, those in devices.d are a probe's, devices.yaml is the user's.
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


def known_faults(driver: str) -> list[str]:
    """What is known to go wrong with a driver of this version."""
    return driver_notes(driver, cast(Any, _shipped_body().get("drivers", [])))


def write_measured(name: str, facts: Profile) -> Path:
    """Keep a profile that `devices --probe` measured; an earlier one of that name is replaced."""
    path = measured_file(name)
    _checked(name, {**facts, "from": str(path)}, _shipped_body()["classes"])
    text = yaml.safe_dump({"devices": {name: facts}}, sort_keys=False, width=110)
    write_text(path, f"# Written by `pocketcl devices --probe`; devices.yaml overrules it.\n{text}")
    return path


def measured_file(name: str) -> Path:
    """Where `devices --probe --save NAME` keeps what it found."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise PocketError(
            f"'{name}' cannot be the name of a device",
            "it becomes a file: lower-case letters, digits, - . _",
            "a name like my-phone",
        )
    return config_dir() / "devices.d" / f"{name}.yaml"


def match(platform: str, device: str, known: Mapping[str, Profile]) -> str:
    """The profile of an OpenCL device, by the words of its entry; `generic` where none fits."""
    names = f"{platform}\n{device}".lower()
    for name, facts in known.items():
        if any(word.lower() in names for word in facts.get("match", ())):
            return name
    return "generic"


def overview() -> dict[str, Any]:
    """What `pocketcl devices` reports."""
    from toolkit.doctor import opencl_devices

    known = profiles()
    here = [
        {
            **d,
            "profile": match(d["platform"], d["name"], known),
            "known_faults": known_faults(d["driver"]),
        }
        for d in opencl_devices()
    ]
    listed = [{"name": name, **facts} for name, facts in known.items()]
    return {"opencl": here, "phones": phones(), "profiles": listed}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The report of `pocketcl devices` for people."""
    yield "OpenCL devices here"
    for d in found["opencl"]:
        yield f"  {d['profile']:<10}{d['name']} ({d['platform']} {d['driver']}), {d['type']}"
        yield from (f"    known fault: {fault}" for fault in d["known_faults"])
    yield from [] if found["opencl"] else ["  none: pocketcl doctor says what is missing"]
    yield "Phones"
    for p in found["phones"]:
        yield f"  {p['serial']}  {_phone_line(p)}"
    yield from [] if found["phones"] else ["  none"]
    yield "Profiles (--device NAME or SoC)"
    for p in found["profiles"]:
        what = p.get("gpu") or p.get("about", "")
        soc = ", ".join(socs(p))
        yield f"  {p['name']:<26}{soc:<20}{p['class']:<9}{what}".rstrip()


def _phone_line(facts: Mapping[str, Any]) -> str:
    if "soc" not in facts:
        return f"{facts['model'] or 'a phone'}: {facts['state']} (pocketcl doctor)"
    words = [facts["model"], facts["soc"], facts["gpu"], facts["driver"]]
    words += [f"Android {facts['android']}", f"profile {facts['profile']}"]
    return ", ".join(filter(None, words))


def phones() -> list[dict[str, Any]]:
    """Phones that adb sees: serial, state (`device` when usable), model; of usable ones more."""
    try:
        return [_phone(seen) for seen in all_phones()]
    except PocketError:  # doctor says what is wrong with adb
        return []


def _phone(seen: Seen) -> dict[str, Any]:
    facts: dict[str, Any] = asdict(seen)
    if seen.state != "device":
        return facts
    try:
        found = about(Phone(seen.serial, seen.model))
    except PocketError as error:  # it was unplugged just now
        return {**facts, "state": str(error)}
    named = {"soc": found.soc, "android": found.android, "gpu": found.gpu, "driver": found.driver}
    return {**facts, **named, "profile": _profile_of(found.soc, found.gpu, found.driver)}


def _on_phone(serial: str | None) -> Profile:
    """The profile of a phone, with no feature that its own OpenCL lacks."""
    from toolkit.phone_place import OnPhone

    with closing(OnPhone(serial)) as place:
        check_system(place.about)
        place.install_runner()
        device = place.opencl()[0]
    gpu = f"{device['name']}, {device['platform']}"
    name = _profile_of(place.about.soc, gpu, device["driver"])
    return _as_reported(name, profiles()[name], device)


def _profile_of(soc: str, gpu: str, driver: str) -> str:
    return match_phone({"ro.soc.model": soc}, gpu, driver, profiles())


def _here(known: Mapping[str, Profile]) -> Profile:
    from toolkit.doctor import NO_DEVICE, best_device

    device = best_device()
    if device is None:
        raise PocketError(
            "no OpenCL device is here to compile for",
            NO_DEVICE,
            "--device NAME to compile for another one (pocketcl devices), or pocketcl doctor",
        )
    name = match(device["platform"], device["name"], known)
    return _as_reported(name, known[name], device)


def _as_reported(name: str, facts: Profile, device: Mapping[str, Any]) -> Profile:
    """A profile as far as the device in hand bears it out."""
    profile = _essence(name, facts)
    profile["align"] = max(profile["align"], device["align"])
    profile["features"] = [f for f in profile["features"] if f in device["features"]]
    profile["compute_units"] = device["compute_units"]
    return profile


def _essence(name: str, facts: Profile) -> Profile:
    """What a plan depends on; the rest of an entry is for people and estimates."""
    features = [f for f in FEATURES if f in facts.get("features", ())]
    few = os.cpu_count() or 1 if facts["class"] == "cpu" else UNITS
    return {
        "name": name,
        "class": facts["class"],
        "align": facts["align"],
        "features": features,
        "compute_units": facts.get("compute_units", few),
    }


def _checked(name: str, facts: Profile, classes: Mapping[str, Profile]) -> Profile:
    where, kind = facts["from"], facts.get("class")
    if kind not in CLASSES:
        raise _fault(where, name, f"its class is {kind!r}", f"class: one of {', '.join(CLASSES)}")
    full = {**classes.get(kind, {}), **facts}
    align = full.get("align")
    if not isinstance(align, int) or align <= 0 or align & (align - 1):
        raise _fault(where, name, f"its align is {align!r}", "align: bytes, a power of two")
    units = full.get("compute_units", UNITS)
    if not isinstance(units, int) or units <= 0:
        raise _fault(where, name, f"its compute_units are {units!r}", "compute_units: how many")
    unknown = [f for f in full.get("features", ()) if f not in FEATURES]
    if unknown:
        raise _fault(where, name, f"feature {unknown[0]!r} is unknown", f"one of {FEATURES}")
    return full


def _read(path: Path) -> Profile:
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PocketError(f"{path} cannot be read", str(error), "mend or remove it") from None
    named = ("classes", "devices")
    sections = [body.get(name, {}) for name in named] if isinstance(body, dict) else [None]
    if not all(
        isinstance(s, dict) and all(isinstance(e, dict) for e in s.values()) for s in sections
    ):
        raise PocketError(
            f"{path} is not a list of devices",
            "it needs the form  devices: {NAME: {class: …}}",
            "the shipped devices.yaml is an example",
        )
    return body


def _fault(where: str, name: str, because: str, hint: str) -> PocketError:
    return PocketError(f"device '{name}' in {where} is not usable", because, hint)


def _files() -> list[Path]:
    measured = sorted((config_dir() / "devices.d").glob("*.yaml"))
    return [_shipped(), *measured, *([_user_file()] if _user_file().exists() else [])]


@cache
def _shipped_body() -> Profile:
    return _read(_shipped())


def _shipped() -> Path:
    return next(path for path in SHIPPED if path.exists())


def _user_file() -> Path:
    return config_dir() / "devices.yaml"
