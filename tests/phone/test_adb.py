"""Finding adb and a phone: exactly one that can be used, or an error that says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from adb_server import AdbServer
from device import Device, Make, Unready

from toolkit.errors import PocketError
from toolkit.phone.adb import UNUSABLE, Gone, Phone, all_phones, find_phone
from toolkit.phone.adb_program import adb, find_adb


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adb of a few lines of shell, which tests write; 1.0.41 unless one says otherwise."""
    return write_fake(tmp_path / "adb", monkeypatch)


def write_fake(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    devices: str = "",
    version: str = "Android Debug Bridge version 1.0.41",
) -> Path:
    listed = f"List of devices attached\n{devices}\n"
    text = f"case $1 in version) echo '{version}';; devices) printf '%s' '{listed}';; esac"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("ADB", str(path))
    return path


def refused(serial: str | None = None) -> PocketError:
    with pytest.raises(PocketError) as error:
        find_phone(serial)
    return error.value


def test_where_adb_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$ADB, the PATH, the SDK's folders, the wheel: the first that has one."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("ADB", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_adb() is None

    def program(path: Path) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
        return str(path)

    ours = program(tmp_path / "home/Android/Sdk/platform-tools/adb")
    assert find_adb() == ours
    root = program(tmp_path / "sdk/platform-tools/adb")
    monkeypatch.setenv("ANDROID_SDK_ROOT", str(tmp_path / "sdk"))
    assert find_adb() == root
    on_path = program(tmp_path / "adb")
    assert find_adb() == on_path
    monkeypatch.setenv("ADB", "/my/own/adb")
    assert find_adb() == "/my/own/adb"


def test_the_adb_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "adbutils"
    (wheel / "binaries").mkdir(parents=True)
    (wheel / "__init__.py").write_text("raise ImportError('it is looked up, never imported')")
    (wheel / "binaries/adb").touch(0o755)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ADB", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert find_adb() == str(wheel / "binaries/adb")


def test_no_adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.phone.adb_program.find_adb", lambda: None)
    error = refused()
    assert "not installed" in error.what and "apt-get install adb" in error.hint
    monkeypatch.setattr("toolkit.phone.adb_program.find_adb", lambda: str(tmp_path / "gone"))
    assert "can't be run" in refused().what


def test_an_adb_that_is_too_old_or_none(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write_fake(fake.with_name("old"), monkeypatch, "", "Android Debug Bridge version 1.0.32")
    error = refused()
    assert "too old" in error.what and str(old) in error.because and "1.0.36" in error.because
    other = write_fake(fake.with_name("other"), monkeypatch, "", "hello")
    assert str(other) in refused().what
    monkeypatch.setenv("ADB", str(fake))
    assert adb() == (str(fake),)


@pytest.mark.parametrize(
    "line, because, hint",
    [
        ("R5CT unauthorized usb:1-1", "trust", "dialog"),
        ("R5CT no permissions (user in plugdev group; are your udev rules wrong?)", "USB", "udev"),
        ("R5CT offline", "doesn't answer", "plug"),
        ("R5CT recovery product:x", "recovery", "adb reboot"),
        ("R5CT strange", "'strange'", "adb reconnect"),
    ],
)
def test_a_phone_that_cannot_be_used_yet(
    fake: Path, monkeypatch: pytest.MonkeyPatch, line: str, because: str, hint: str
) -> None:
    write_fake(fake, monkeypatch, line)
    error = refused()
    assert "can't be used yet" in error.what
    assert because in error.because and hint in error.hint
    assert "R5CT" in refused("R5CT").what


def test_no_phone_and_a_wrong_serial(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fake(fake, monkeypatch)
    error = refused()
    assert error.what == "no phone is connected" and "USB debugging" in error.hint
    write_fake(fake, monkeypatch, "R5CT device model:Pixel_8")
    error = refused("X")
    assert "X" in error.what and "R5CT" in error.because


def test_one_usable_phone_is_taken(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several by its serial, by $ANDROID_SERIAL, or because the others can't be used."""
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    write_fake(fake, monkeypatch, "A device model:One\nB device model:Two\nC unauthorized")
    error = refused()
    assert "2 phones" in error.what and "--serial" in error.hint
    assert "A (One)" in error.because and "B (Two)" in error.because
    assert find_phone("B").model == "Two"
    monkeypatch.setenv("ANDROID_SERIAL", "A")
    assert find_phone().model == "One"
    assert find_phone("B").model == "Two"
    monkeypatch.delenv("ANDROID_SERIAL")
    write_fake(fake, monkeypatch, "A device model:One\nC offline")
    assert find_phone().serial == "A"
    write_fake(fake, monkeypatch, "adb-R5 (2)._adb-tls-connect._tcp device model:Wireless")
    assert find_phone().serial == "adb-R5 (2)._adb-tls-connect._tcp"


def test_a_server_that_cannot_start(monkeypatch: pytest.MonkeyPatch, adb: AdbServer) -> None:
    """Something else answers at its port."""
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.getsockname()[1]))

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        error = refused()
        server.close()
    assert "server" in error.what and "adb kill-server" in error.hint and error.because


# --- with the real adb -------------------------------------------------------------------------


def test_the_real_adb_lists_devices(two_phones: tuple[Device, Device]) -> None:
    seen = {phone.serial: phone for phone in all_phones()}
    assert [seen[phone.serial].state for phone in two_phones] == ["device", "device"]
    assert seen[two_phones[1].serial].model == "Second"
    assert "2 phones" in refused().what


def test_a_command_has_answers_and_an_exit_code(phone: Device) -> None:
    found = find_phone()
    assert found.shell("echo out; echo err >&2") == "out\n"
    done = found.run("echo out; echo 'error: mine' >&2; exit 3")
    assert (done.code, done.out, done.err) == (3, "out\n", "error: mine\n")
    with pytest.raises(PocketError) as error:
        found.shell("echo 'disk on fire' >&2; exit 4")
    assert "exit code 4" in error.value.because and "disk on fire" in error.value.because
    assert found.shell("exit 4", check=False) == ""
    long = "".join(f"line {i}\n" for i in range(50_000))
    assert found.shell("cat", text=long) == long


def test_files_travel(phone: Device, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "a").write_bytes(data)
    found = find_phone()
    found.push([tmp_path / "a"], "/data/local/tmp/b")
    found.pull("/data/local/tmp/b", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == data
    with pytest.raises(PocketError, match="could not be copied") as error:
        found.pull("/data/local/tmp/none", tmp_path / "d")
    assert "No such file" in error.value.because


def test_a_command_that_takes_too_long(phone: Device) -> None:
    with pytest.raises(PocketError, match="doesn't answer"):
        find_phone().shell("sleep 20", timeout=0.5)


def test_an_unplugged_phone_is_named(phone: Device) -> None:
    found = find_phone()
    phone.unplug()
    with pytest.raises(Gone) as error:
        found.shell("true")
    assert phone.serial in error.value.what and "unplugged" in error.value.because
    assert "connect it and repeat" in error.value.hint


def test_what_the_phone_says_is_not_taken_for_adb(phone: Device) -> None:
    """A program that fails with words like adb's own has failed by itself."""
    done = Phone(phone.serial).run("echo 'error: closed' >&2; exit 1")
    assert done.code == 1


@pytest.mark.parametrize("state", ["unauthorized", pytest.param("offline", marks=pytest.mark.slow)])
def test_a_real_phone_that_is_not_ready(make_phone: Make, adb: AdbServer, state: Unready) -> None:
    device = make_phone("phone")
    device.unplug()
    device.faults.state = state
    device.plug_in()
    adb("disconnect", device.serial, check=False)
    adb("connect", device.serial, check=False)
    error = refused(device.serial)
    assert "can't be used yet" in error.what and device.serial in error.what
    newer = {"unauthorized": "authorizing"}  # what adb 36 calls it for a while
    assert error.because in {UNUSABLE[state][0], UNUSABLE[newer.get(state, state)][0]}
