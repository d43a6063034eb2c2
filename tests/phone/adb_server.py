"""An adb server: one of our own, with a private port and a private home, or the user's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from phone_root import Unavailable

PORT = "ANDROID_ADB_SERVER_PORT"


class AdbServer:
    """Runs adb commands for one server."""

    def __init__(self, home: Path | None = None) -> None:
        """A private one, whose keys and log lie in `home`; without `home` the user's own."""
        found = shutil.which(os.environ.get("ADB") or "adb")
        if not found:
            raise Unavailable("no adb: apt-get install adb")
        self.adb, self.env = found, dict(os.environ)
        if home:
            names = ("HOME", "ANDROID_USER_HOME", "TMPDIR")
            self.env |= dict.fromkeys(names, str(home)) | {PORT: str(_free_port())}

    @property
    def port(self) -> str:
        """Where a private one listens."""
        return self.env[PORT]

    def start(self) -> None:
        """Start the server."""
        self("start-server")

    def stop(self) -> None:
        """End it."""
        self("kill-server")

    def connect(self, serial: str) -> None:
        """Connect a device, also one that was there before and went away."""
        self("disconnect", serial, check=False)
        said = self("connect", serial)
        if "connected to" not in said:
            raise Unavailable(f"adb connect {serial}: {said.strip()}")

    def __call__(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        """Run `adb WORDS`; return what it says on both streams."""
        done = subprocess.run(
            [self.adb, *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            encoding="utf-8",
            errors="replace",
        )
        if check and done.returncode:
            raise RuntimeError(f"adb {' '.join(words)}: {done.returncode}: {done.stdout.strip()}")
        return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
