"""Phones without a phone: loopback devices that the real adb talks to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from adb_server import AdbServer
from device import Device, Faults, Make, arm64_device, native_device
from phone_root import Unavailable


def absent(reason: str) -> NoReturn:
    """Skip a test that this machine can't run; fail where a phone must be there (CI)."""
    if os.environ.get("POCKETCL_NEED_PHONE"):
        pytest.fail(reason)
    pytest.skip(reason)


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

    def make(name: str, **properties: str) -> Device:
        device = native_device(tmp_path / name, **properties)
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
def arm64_phone(adb: AdbServer, arm64_device_on: Device) -> Device:
    """The one arm64 device of this process: what earlier tests compiled on it stays."""
    device = arm64_device_on
    device.faults = Faults()
    device.received.clear()
    if f"{device.serial}\tdevice" not in adb("devices"):
        device.unplug()
        device.plug_in()
        adb.connect(device.serial)
    return device


@pytest.fixture
def phone(make_phone: Make) -> Device:
    return make_phone("phone")


@pytest.fixture
def two_phones(make_phone: Make) -> tuple[Device, Device]:
    return make_phone("first"), make_phone("second", **{"ro.product.model": "Second"})
