"""The loopback device keeps adb's rules: what the tests of the phone path stand on."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from adb_server import AdbServer
from device import Device, Unready
from patience import wait_for, wait_for_end

DATA = "/data/local/tmp"


def shell(adb: AdbServer, phone: Device, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [adb.adb, "-s", phone.serial, "shell", command], capture_output=True, text=True, timeout=60
    )


def test_a_command_has_two_streams_and_an_exit_code(adb: AdbServer, phone: Device) -> None:
    done = shell(adb, phone, "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    assert shell(adb, phone, "kill -SEGV $$").returncode == 139


def test_input_reaches_a_command_and_ends(adb: AdbServer, phone: Device) -> None:
    argv = [adb.adb, "-s", phone.serial, "shell", "cat; echo end"]
    done = subprocess.run(argv, input="a\nb\n", capture_output=True, text=True, timeout=60)
    assert done.stdout == "a\nb\nend\n"


def test_a_device_is_a_phone(adb: AdbServer, phone: Device) -> None:
    assert "product:loopback model:Loopback device:loopback" in adb("devices", "-l")
    assert shell(adb, phone, "getprop ro.soc.model").stdout == "LOOPBACK\n"
    assert shell(adb, phone, "getprop no.such; getprop no.such other").stdout == "\nother\n"
    assert "[ro.product.cpu.abi]: [x86_64]\n" in shell(adb, phone, "getprop").stdout
    assert "level: 83" in shell(adb, phone, "dumpsys battery").stdout
    assert shell(adb, phone, "dumpsys nothing").returncode == 20
    assert shell(adb, phone, "ls /tmp /home /root").stdout == ""
    assert shell(adb, phone, "cat /sys/class/thermal/thermal_zone*/temp").stdout.split() == [
        "41200",
        "40100",
        "33400",
    ]


def test_a_file_travels_both_ways(adb: AdbServer, phone: Device, tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000 + b"end"
    (tmp_path / "a").write_bytes(data)
    adb("-s", phone.serial, "push", str(tmp_path / "a"), f"{DATA}/deep/er/a")
    adb("-s", phone.serial, "pull", f"{DATA}/deep/er/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == data
    assert phone.received == {f"{DATA}/deep/er/a": len(data)}
    assert "failed" in adb("-s", phone.serial, "pull", f"{DATA}/none", str(tmp_path), check=False)


def test_push_sync_counts_only_what_changed(adb: AdbServer, phone: Device, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(name * 10)
    adb("-s", phone.serial, "push", "--sync", f"{folder}/.", f"{DATA}/x")
    assert sum(phone.received.values()) == 30
    phone.received.clear()
    (folder / "b").write_text("other")
    adb("-s", phone.serial, "push", "--sync", f"{folder}/.", f"{DATA}/x")
    assert sum(phone.received.values()) == 5


def test_a_client_that_leaves_takes_its_command_along(adb: AdbServer, phone: Device) -> None:
    argv = [adb.adb, "-s", phone.serial, "shell", "echo $$; sleep 1000"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        pid = int(client.stdout.readline())
        client.kill()
    wait_for_end(pid)


def test_unplugged_while_a_command_runs(adb: AdbServer, phone: Device) -> None:
    argv = [adb.adb, "-s", phone.serial, "shell", "echo $$; sleep 1000"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        pid = int(client.stdout.readline())
        phone.unplug()
        client.wait(20)  # older adb says 0 here: an exit code alone proves nothing
    wait_for_end(pid)
    assert shell(adb, phone, "true").returncode != 0
    phone.plug_in()
    adb.connect(phone.serial)
    assert shell(adb, phone, "true").returncode == 0


def test_unplugged_in_mid_push(adb: AdbServer, phone: Device, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    phone.faults.unplug_after = 1 << 20
    with pytest.raises(RuntimeError):
        adb("-s", phone.serial, "push", str(tmp_path / "big"), DATA)
    assert 0 <= (1 << 20) - sum(phone.received.values()) < 64 << 10
    phone.plug_in()
    adb.connect(phone.serial)
    adb("-s", phone.serial, "push", str(tmp_path / "big"), DATA)
    assert shell(adb, phone, f"stat -c %s {DATA}/big").stdout.strip() == str(3 << 20)


def test_full_storage(adb: AdbServer, phone: Device, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    phone.root.limit_storage(2 << 20)
    assert shell(adb, phone, f"df -k {DATA} | tail -n 1").stdout.split()[1] == "2048"
    with pytest.raises(RuntimeError, match="No space left on device"):
        adb("-s", phone.serial, "push", str(tmp_path / "big"), DATA)
    phone.root.limit_storage(4 << 20)
    adb("-s", phone.serial, "push", str(tmp_path / "big"), DATA)
    phone.root.restore_storage()
    assert shell(adb, phone, f"ls {DATA}").stdout == ""


def test_a_slow_cable(adb: AdbServer, phone: Device, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(200_000))
    phone.faults.bytes_per_second = 400_000
    started = time.perf_counter()
    adb("-s", phone.serial, "push", str(tmp_path / "file"), DATA)
    assert time.perf_counter() - started > 0.4  # the cable's own time; more is the machine's


def test_a_wrong_exit_code(adb: AdbServer, phone: Device) -> None:
    phone.faults.exit_codes["true"] = 137
    assert shell(adb, phone, "true").returncode == 137


@pytest.mark.parametrize("state", ["unauthorized", "offline"])
def test_a_device_that_refuses(adb: AdbServer, phone: Device, state: Unready) -> None:
    phone.unplug()
    phone.faults.state = state
    phone.plug_in()
    adb("disconnect", phone.serial, check=False)
    with subprocess.Popen([adb.adb, "connect", phone.serial], stdout=subprocess.DEVNULL) as client:
        wanted = f"{phone.serial}\t{state}"
        wait_for(lambda: wanted in adb("devices"), f"adb devices says {state}")
        client.kill()


def test_a_replaced_file(adb: AdbServer, phone: Device) -> None:
    for size in (1234, 99):
        phone.root.replace("/proc/meminfo", f"MemAvailable: {size} kB\n")
        assert shell(adb, phone, "cat /proc/meminfo").stdout == f"MemAvailable: {size} kB\n"


def test_a_port_is_forwarded(adb: AdbServer, phone: Device) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(100).upper())

        threading.Thread(target=answer, daemon=True).start()
        there = f"tcp:{server.getsockname()[1]}"
        port = adb("-s", phone.serial, "forward", "tcp:0", there).strip()
        with socket.create_connection(("127.0.0.1", int(port)), 20) as client:
            client.sendall(b"abc")
            assert client.recv(100) == b"ABC"


def test_two_devices(adb: AdbServer, two_phones: tuple[Device, Device]) -> None:
    models = [shell(adb, each, "getprop ro.product.model").stdout.strip() for each in two_phones]
    assert models == ["Loopback", "Second"]
    assert "more than one device" in adb("shell", "true", check=False)
