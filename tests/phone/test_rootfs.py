"""The arm64 phone: its programs are arm64's, and it has what Android has where Android has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from adb_server import AdbServer
from device import Device


@pytest.mark.slow
def test_an_arm64_phone(adb: AdbServer, arm64_phone: Device) -> None:
    def shell(command: str) -> str:
        return adb("-s", arm64_phone.serial, "shell", command)

    assert shell("uname -m; getprop ro.product.cpu.abi; id -u") == "aarch64\narm64-v8a\n0\n"
    assert "MIRBSD KSH" in shell("echo $KSH_VERSION")
    assert shell("ls /system/bin/linker64 /vendor/lib64/libOpenCL.so").count("\n") == 2
    assert shell("sha256sum </dev/null | cut -c1-8") == "e3b0c442\n"


def test_a_command_with_a_loopback_phone(adb: AdbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """loopback.py connects a device for as long as the command runs, and ends as it does."""
    script = Path(__file__).with_name("loopback.py")
    command = [adb.adb, "shell", "getprop ro.product.model; exit 7"]
    done = subprocess.run(
        [sys.executable, str(script), "--native", *command], capture_output=True, text=True
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.endswith("is connected\nLoopback\n")
    monkeypatch.setenv("ADB", "no-such-adb")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 1 and "apt-get install adb" in done.stderr
