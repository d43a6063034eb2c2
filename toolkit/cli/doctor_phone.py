"""What is missing to use a phone: adb here, its connection, or something on the phone."""

from collections.abc import Callable, Iterator

from toolkit.cli.checks import Check
from toolkit.devices.profiles import faults_of
from toolkit.errors import PocketError
from toolkit.phone.adb import NO_PHONE, Phone, Seen, all_phones, unusable
from toolkit.phone.adb_program import adb


def phone_checks(serial: str | None = None) -> Iterator[Check]:
    """adb and every phone; with a serial, only this phone and its OpenCL."""
    try:
        program, seen = adb()[0], all_phones()
    except PocketError as error:
        yield _failed("adb", error, needed=serial is not None)
        return
    yield Check("adb", True, program, needed=False)
    chosen = [phone for phone in seen if serial in (None, phone.serial)]
    if not chosen:
        detail = "none is connected" if serial is None else f"none has the serial {serial}"
        yield Check("phone", False, detail, NO_PHONE, needed=serial is not None)
        return
    for phone in chosen:
        yield from _phone(phone, serial is not None)


def _phone(seen: Seen, needed: bool) -> Iterator[Check]:
    name = seen.model or seen.serial
    if seen.state != "device":
        why, hint = unusable(seen.state)
        yield Check("phone", False, f"{name}: {why}", hint, needed)
        return
    phone = Phone(seen.serial, seen.model)
    yield _attempt("phone", lambda: _system(phone), needed)
    if needed:  # this may build the runner, which takes minutes
        yield _attempt("opencl", lambda: _opencl(phone), needed)


def _system(phone: Phone) -> str:
    from toolkit.phone.about import about, check_system

    found = about(phone)
    check_system(found)
    memory = f"{found.available_bytes / 1e9:.1f} of {found.memory_bytes / 1e9:.1f} GB memory free"
    words = [found.model, found.soc, f"Android {found.android}", memory, phone.serial]
    return ", ".join(filter(None, words))


def _opencl(phone: Phone) -> str:
    from toolkit.phone.runner import PhoneRunner

    runner = PhoneRunner(phone.serial)
    runner.install_runner()
    devices = runner.opencl()
    found = [f"{d['name']} ({d['platform']} {d['driver']})" for d in devices]
    free = runner.store.survey().free / 1e9
    faults = [f"known fault: {fault.note()}" for d in devices for fault in faults_of(d)]
    storage = f"{free:.1f} GB storage free"
    return "; ".join([f"{', '.join(found)} on {runner.about.model}", storage, *faults])


def _attempt(name: str, check: Callable[[], str], needed: bool) -> Check:
    try:
        return Check(name, True, check(), needed=needed)
    except PocketError as error:
        return _failed(name, error, needed)


def _failed(name: str, error: PocketError, needed: bool) -> Check:
    detail = " ".join(str(error).splitlines())[:300]
    return Check(name, False, detail, error.hint or "run pocketcl doctor --serial S", needed)
