"""The arm64 phone: its programs are arm64's, and it has what Android has where Android has it."""

from __future__ import annotations

from adb_server import AdbServer
from device import Device


def test_an_arm64_phone(adb: AdbServer, arm64_phone: Device) -> None:
    def shell(command: str) -> str:
        return adb("-s", arm64_phone.serial, "shell", command)

    assert shell("uname -m; getprop ro.product.cpu.abi; id -u") == "aarch64\narm64-v8a\n0\n"
    assert "MIRBSD KSH" in shell("echo $KSH_VERSION")
    assert shell("ls /system/bin/linker64 /vendor/lib64/libOpenCL.so").count("\n") == 2
    assert shell("sha256sum </dev/null | cut -c1-8") == "e3b0c442\n"
