"""A phone without a phone: an arm64 device on this machine, connected to adb.

    python tests/phone/loopback.py                        until Ctrl-C
    python tests/phone/loopback.py --background           returns when it is connected
    python tests/phone/loopback.py pocketcl demo --on phone    while the command runs

Programs run under qemu, OpenCL is PoCL's: answers are a phone's, speed is not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from adb_server import AdbServer
from device import arm64_device, native_device
from phone_root import Unavailable

from toolkit.paths import cache_dir


def main() -> int:
    """Start it; 1 when this machine can't."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--native", action="store_true", help="this machine's programs, no qemu")
    parser.add_argument("--background", action="store_true", help="return when it is connected")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="run it, and end with it")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if options.background:
            return _in_background()
        return _serve(options.native, options.command)
    except Unavailable as reason:
        print(f"error: no loopback phone here: {reason}", file=sys.stderr)
        return 1


def _serve(native: bool, command: list[str]) -> int:
    adb = AdbServer()  # the user's own
    with tempfile.TemporaryDirectory(prefix="pocketcl-phone-") as folder:
        if native:
            device = native_device(Path(folder, "phone"))
        else:
            data = cache_dir() / "phone-data"  # pushed plans and compiled kernels stay
            data.mkdir(parents=True, exist_ok=True)
            print("making the phone (the first time it takes a minute) …", file=sys.stderr)
            device = arm64_device(Path(folder, "phone"), data)
        device.start()
        try:
            adb.connect(device.serial)
            print(f"{device.serial} is connected", flush=True)
            named = {"ANDROID_SERIAL": device.serial}  # the command's phone, whatever else is there
            return subprocess.call(command, env=os.environ | named) if command else _wait()
        finally:
            adb("disconnect", device.serial, check=False)
            device.stop()


def _wait() -> int:
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    return 0


def _in_background() -> int:
    words = [word for word in sys.argv[1:] if word != "--background"]
    child = subprocess.Popen(
        [sys.executable, __file__, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert child.stdout
    said = child.stdout.readline().strip()
    if not said:
        return child.wait()
    print(f"{said}; to end it: kill {child.pid}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
