"""An adb server of our own: a private port, a private home, gone at the end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path


class AdbServer:
    """Runs adb commands; the user's own server and its devices are never seen."""

    def __init__(self, home: Path) -> None:
        """`home` takes its keys and its log."""
        self.adb = shutil.which(os.environ.get("ADB") or "adb") or "adb"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        self._env = {"ANDROID_ADB_SERVER_PORT": self.port, "HOME": str(home)}
        self._env |= {
            "ANDROID_USER_HOME": str(home),
            "TMPDIR": str(home),
            "ADB_MDNS_OPENSCREEN": "0",
        }

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
        if "connected" not in said:
            raise RuntimeError(said)

    def __call__(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        """Run `adb WORDS`; return what it says on both streams."""
        done = subprocess.run(
            [self.adb, *words],
            env=os.environ | self._env,
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
