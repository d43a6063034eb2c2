"""The runner on a phone: installed, started, asked for its devices, its exit explained."""

import json
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from toolkit.errors import PocketError
from toolkit.phone.about import About, about
from toolkit.phone.adb import find_phone
from toolkit.phone.adb_program import Done
from toolkit.phone.exit_reason import explain, task_of
from toolkit.phone.layout import HOME
from toolkit.phone.store import Store, file_item
from toolkit.toolchain.android import build_android_runner

PROGRAM = "pocketcl-runner"
UP = "../../"  # from a session's folder to HOME


class PhoneRunner:
    """A phone with a runner: `phone.serial`, `store.transfer` (what was copied), `about`."""

    def __init__(self, serial: str | None = None) -> None:
        """Find the phone: of this serial, or the only one there is."""
        self.phone = find_phone(serial)
        self.store = Store(self.phone)
        self.about: About = about(self.phone)
        self._runner = self._cache = self._session = ""

    def install_runner(self) -> None:
        """Build the runner and copy it to the phone."""
        program = file_item(PROGRAM, build_android_runner(self.about.machine))
        self._runner = f"{self.store.install('bin', [program])}/{PROGRAM}"
        self.phone.shell(f"cd {HOME} && [ -x {self._runner} ] || chmod 755 {self._runner}")

    def opencl(self) -> list[dict[str, Any]]:
        """The OpenCL devices that the runner finds on the phone."""
        done: Done = self.phone.run(f"cd {HOME} && {self._runner} --devices")
        if done.code > 1:
            raise explain(self.phone, done.code, done.err.splitlines()[-8:], "looking for OpenCL")
        return parse_devices(done.out, self.about.model)

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[str]":
        """Start the runner in a session folder named by its process id, which it prints first."""
        words = shlex.join([UP + self._runner, *arguments])
        folder = "sessions/$$"
        command = f"cd {HOME} && rm -rf {folder} && mkdir -p {folder} && cd {folder}"
        process = self.phone.start(f"{command} && echo session $$ && exec {words}")
        assert process.stdout and process.stderr
        word, _, number = process.stdout.readline().strip().partition(" ")
        if word != "session" or not number.isdigit():
            said = process.communicate()[1].splitlines()
            raise explain(self.phone, process.returncode, said[-8:], "")
        self._session = f"{HOME}/sessions/{number}"
        return process

    def exit_error(self, code: int, said: Sequence[str]) -> PocketError:
        """The error for an exit code, with the task of the runner by its journal."""
        try:
            process = self._session.rpartition("/")[2]
            journal = self.phone.run(f"cat {HOME}/{self._cache}/journal.{process}", timeout=20).out
            return explain(self.phone, code, said, task_of(journal))
        except PocketError as error:  # the phone itself is gone
            return error

    def leave(self) -> None:
        """Remove the session folder; if that fails, the next run does it."""
        if self._session:
            with suppress(PocketError):
                self.phone.run(f"rm -rf {self._session}", timeout=20)
            self._session = ""

    def figures(self) -> dict[str, Any]:
        """Which phone it is, and what was copied to it."""
        known = {"serial": self.phone.serial, **asdict(self.about)}
        return {**known, **asdict(self.store.transfer)}


def parse_devices(output: str, model: str) -> list[dict[str, Any]]:
    """The OpenCL devices that `pocketcl-runner --devices` prints; raises if there is none."""
    line = output.strip().splitlines()[-1] if output.strip() else ""
    if line.startswith("error "):
        fault: Mapping[str, str] = json.loads(line.removeprefix("error "))
        what = f"{model} has no OpenCL that the runner can use"
        because = f"{fault['what']}: {fault['because']}" if fault["because"] else fault["what"]
        hint = "run pocketcl doctor --serial S; some phones come without OpenCL"
        raise PocketError(what, because, hint)
    try:
        found: list[dict[str, Any]] = json.loads(line)["devices"]
    except (ValueError, KeyError, TypeError):
        because = f"it printed {output.strip()[-200:]!r}"
        raise PocketError(f"the runner doesn't work on {model}", because, "report this") from None
    if not found:
        because = "the library lists no device"
        raise PocketError(f"{model} has no OpenCL device", because, "update its system")
    return found
