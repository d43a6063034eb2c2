"""Phones without a phone: loopback devices that the real adb talks to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from adb_server import AdbServer
from device import Device, Make, native_device
from phone_root import Unavailable


def absent(reason: str) -> None:
    """Skip a test that this machine can't run; fail where a phone must be there (CI)."""
    if os.environ.get("POCKETCL_NEED_PHONE"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    if not shutil.which("adb"):
        absent("no adb: apt-get install adb")
    server = AdbServer(tmp_path_factory.mktemp("adb"))
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


@pytest.fixture
def phone(make_phone: Make) -> Device:
    return make_phone("phone")


@pytest.fixture
def two_phones(make_phone: Make) -> tuple[Device, Device]:
    return make_phone("first"), make_phone("second", **{"ro.product.model": "Second"})
