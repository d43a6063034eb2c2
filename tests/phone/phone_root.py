"""A phone's file system in a private namespace, with this machine's programs or arm64's.

There is no /tmp and no home, and /sys/class, getprop and dumpsys tell what a test says. It works
without privileges and changes nothing of this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE

from phone_files import DATA, PhoneFiles

SCRIPT = Path(__file__).with_name("phone_root.sh")


class Unavailable(RuntimeError):
    """This machine can't stand in for a phone: says why, and what would change it."""


class PhoneRoot:
    """One device's file system, alive from `start` to `stop`."""

    def __init__(
        self,
        files: PhoneFiles,
        source: Path = Path("/"),
        qemu: str = "",
        folders: Mapping[str, Path] = {},
        environment: Mapping[str, str] = {},
    ) -> None:
        """Where the parts come from.

        source       folder of programs and libraries: / is this machine's
        qemu         the program that runs those of another processor
        folders      {path of the device: the folder of this machine shown there}
        environment  more of it for every command
        """
        self.folder, self._files = files.folder, files
        self._words = [str(files.folder), str(source), qemu]
        for path, folder in folders.items():
            self._words += [path, str(folder)]
        self._environment = dict(environment)
        self._limited = False

    def start(self) -> None:
        """Make the files and the namespace."""
        if absent := [name for name in ("unshare", "nsenter") if not shutil.which(name)]:
            raise Unavailable(f"no {' and no '.join(absent)}: apt-get install util-linux")
        self._files.write()
        if self._words[1] == "/":
            _link_shell(self.folder)
        self._holder = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", str(SCRIPT), *self._words],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            text=True,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != "ready\n":
            said = " ".join(self._holder.communicate()[1].strip().splitlines()[-1:])
            raise Unavailable(f"no private namespace ({said}): it needs user namespaces, Linux 6.7")

    def stop(self) -> None:
        """End the namespace; the files stay, for the folder's owner to delete."""
        self._holder.communicate(timeout=10)

    def argv(self, command: str) -> list[str]:
        """What runs a shell command on the device; an empty one is the shell itself."""
        shell = ["/system/bin/sh", "-c", command] if command else ["/system/bin/sh"]
        return [*self._enter("--root", "--wd"), *shell]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands on the device."""
        path = "/product/bin:/system/bin:/usr/bin:/bin"
        return {"PATH": path, "HOME": "/", "TMPDIR": DATA} | self._environment

    def locate(self, path: str) -> Path:
        """Where this machine finds a path of the device, mounts of the namespace included."""
        return Path(f"/proc/{self._holder.pid}/root", path.lstrip("/"))

    def limit_storage(self, size: int) -> None:
        """Show a file system of `size` bytes as /data/local/tmp: empty at first, then resized."""
        options = f"size={size},remount" if self._limited else f"size={size}"
        self._outside("mount", "-t", "tmpfs", "-o", options, "tmpfs", f"{self.folder}{DATA}")
        self._limited = True

    def restore_storage(self) -> None:
        """Show again what was there before the first limit."""
        self._outside("umount", "--lazy", f"{self.folder}{DATA}")
        self._limited = False

    def replace(self, path: str, text: str) -> None:
        """Show another text as an existing file of the device, say /proc/meminfo."""
        stand_in = self.folder / "replaced" / path.lstrip("/")
        mounted = stand_in.exists()
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        stand_in.write_text(text)
        if not mounted:
            self._outside("mount", "--bind", str(stand_in), f"{self.folder}{path}")

    def _outside(self, *command: str) -> None:
        """Run this machine's program in the namespace, on this machine's paths."""
        subprocess.run([*self._enter(), *command], check=True, capture_output=True)

    def _enter(self, *options: str) -> list[str]:
        target = ["--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials"]
        return [shutil.which("nsenter") or "nsenter", *target, *options, "--"]


def _link_shell(folder: Path) -> None:
    """Android's name for this machine's shell."""
    (folder / "system/bin").mkdir(parents=True)
    os.symlink("/bin/sh", folder / "system/bin/sh")
