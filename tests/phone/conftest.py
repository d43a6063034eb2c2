"""Phones without a phone: loopback devices that the real adb talks to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from adb_server import AdbServer
from device import Device, Faults, Make, arm64_device, native_device
from needed import absent
from phone_root import Unavailable

from toolkit.compiler.pipeline import compile
from toolkit.compiler.source import load_source
from toolkit.phone.layout import HOME
from toolkit.toolchain.build import build_runner


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    try:
        server = AdbServer(tmp_path_factory.mktemp("adb"))
    except Unavailable as reason:
        absent(str(reason))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def adb(adb_server: AdbServer, monkeypatch: pytest.MonkeyPatch) -> AdbServer:
    """The server, for the test itself and for what it starts."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", adb_server.port)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    return adb_server


@pytest.fixture
def make_phone(adb: AdbServer, tmp_path: Path) -> Iterator[Make]:
    """Makes connected devices that run this machine's programs, with these properties."""
    made: list[Device] = []

    def make(name: str, data: Path | None = None, **properties: str) -> Device:
        device = native_device(tmp_path / name, data, **properties)
        try:
            device.start()
        except Unavailable as reason:
            absent(str(reason))
        made.append(device)
        adb.connect(device.serial)
        return device

    yield make
    for device in made:
        device.stop()
        adb("disconnect", device.serial, check=False)


@pytest.fixture(scope="session")
def arm64_device_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    try:
        device = arm64_device(tmp_path_factory.mktemp("arm64") / "phone")
        device.start()
    except Unavailable as reason:
        absent(str(reason))
    yield device
    device.stop()


@pytest.fixture
def arm64_phone(adb: AdbServer, arm64_device_on: Device) -> Iterator[Device]:
    """The one arm64 device of this process: what earlier tests compiled on it stays."""
    device = arm64_device_on
    device.faults = Faults()
    device.received.clear()
    if f"{device.serial}\tdevice" not in adb("devices"):
        device.unplug()
        device.plug_in()
        adb.connect(device.serial)
    yield device
    adb("disconnect", device.serial, check=False)  # other tests have phones of their own


@pytest.fixture
def phone(make_phone: Make) -> Device:
    return make_phone("phone")


@pytest.fixture
def two_phones(make_phone: Make) -> tuple[Device, Device]:
    return make_phone("first"), make_phone("second", **{"ro.product.model": "Second"})


# --- plans on phones -----------------------------------------------------------------------------

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
ARM64 = {"ro.product.cpu.abi": "arm64-v8a"}  # what the toolkit asks for, whatever runs here


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model as a plan for PoCL."""
    plan = tmp_path_factory.mktemp("plans") / "demo.plan"
    return compile(load_source(DEMO), plan, device="pocl").path


@pytest.fixture(scope="session")
def warm_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phone's storage, and what PoCL compiled: for tests that don't mind what is there."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def own_runner(monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's runner in the place of the one for phones."""
    program = build_runner()
    monkeypatch.setenv("POCKETCL_PHONE_RUNNER", str(program))
    return program


@pytest.fixture
def warm_phone(make_phone: Make, own_runner: Path, warm_data: Path) -> Device:
    """A phone that has run the demo before, if another test did; no records lie in its memory."""
    device = make_phone("warm", data=warm_data, **ARM64)
    shutil.rmtree(device.root.locate(f"{HOME}/cache/warm"), ignore_errors=True)
    return device
