"""A phone as the place where a runner runs."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.executors.target import task_of
from toolkit.files import temporary_beside
from toolkit.phone.about import (
    About,
    about,
    check_class,
    check_memory,
    check_system,
    parse_devices,
)
from toolkit.phone.adb import find_phone
from toolkit.phone.adb_program import Done
from toolkit.phone.exit_reason import explain
from toolkit.phone.layout import HOME
from toolkit.phone.store import Item, Store, file_item
from toolkit.plan.load import TEXT_SUFFIXES
from toolkit.plan.schema import PLAN_FILE, Plan
from toolkit.toolchain.android import build_android_runner

PROGRAM = "pocketcl-runner"
STATE = "text.state"  # a state file in the runner's working folder
UP = "../../"  # from a session's folder to HOME


class OnPhone:
    """A phone: `phone.serial`, `store.transfer` (what was copied), `about`."""

    executor = "phone"

    def __init__(self, serial: str | None = None) -> None:
        """Find the phone: of this serial, or the only one there is."""
        self.phone = find_phone(serial)
        self.store = Store(self.phone)
        self.about: About = about(self.phone)
        self._folder = tempfile.TemporaryDirectory(prefix="pocketcl-")
        self._runner = self._cache = self._session = ""
        self._names: dict[str, Path] = {}  # of files there, as the runner calls them -> here

    def prepare(self, path: Path, plan: Plan) -> str:
        """Check the phone, then copy what it lacks: the runner first, which looks for OpenCL."""
        check_system(self.about)
        items = items_of(path, plan)
        check_memory(plan, self.about)
        self.store.check_space(items)
        self.install_runner()
        if self.store.missing(items):
            check_class(plan, self.opencl(), self.about.model)
        there = UP + self.store.install("plans", items)
        self._names[there] = path
        return there

    def install_runner(self) -> None:
        """Bring the runner to the phone."""
        program = file_item(PROGRAM, build_android_runner(self.about.machine))
        self._runner = f"{self.store.install('bin', [program])}/{PROGRAM}"
        self.phone.shell(f"cd {HOME} && [ -x {self._runner} ] || chmod 755 {self._runner}")

    def opencl(self) -> list[dict[str, Any]]:
        """The phone's OpenCL devices, as its runner finds them."""
        done: Done = self.phone.run(f"cd {HOME} && {self._runner} --devices")
        if done.code > 1:
            raise explain(self.phone, done.code, done.err.splitlines()[-8:], "looking for OpenCL")
        return parse_devices(done.out, self.about.model)

    def options(self, cache: Path | str | None) -> list[str]:
        """Compiled programs stay on the phone, in `cache` below HOME."""
        self._cache = str(cache or "cache")
        return ["--cache", UP + self._cache]

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[str]":
        """Start the runner in a folder named by its process; its first line says which."""
        words = shlex.join([UP + self._runner, *arguments])
        folder = "sessions/$$"
        command = f"cd {HOME} && rm -rf {folder} && mkdir -p {folder} && cd {folder}"
        child = self.phone.start(f"{command} && echo session $$ && exec {words}")
        assert child.stdout and child.stderr
        word, _, number = child.stdout.readline().strip().partition(" ")
        if word != "session" or not number.isdigit():
            said = child.communicate()[1].splitlines()
            raise explain(self.phone, child.returncode, said[-8:], "")
        self._session = f"{HOME}/sessions/{number}"
        return child

    def fetch(self, name: str) -> Path:
        """A copy of the file."""
        target = Path(self._folder.name, name)
        self.phone.pull(f"{self._session}/{name}", target)
        return target

    @contextmanager
    def saving(self, path: Path) -> Iterator[str]:
        """The runner writes into its folder; what it wrote appears at `path`, whole or not."""
        try:
            with temporary_beside(path) as folder:
                self._names[STATE] = path
                yield STATE
                self.phone.pull(f"{self._session}/{STATE}", folder / STATE)
                os.replace(folder / STATE, path)
        except OSError as error:
            hint = "check the folder and the free space"
            raise PocketError(f"{path} can't be written", error, hint) from None
        finally:
            self.phone.run(f"rm -f {self._session}/{STATE}")

    @contextmanager
    def loading(self, path: Path) -> Iterator[str]:
        """The file is copied into the runner's folder for as long as it reads it."""
        if not path.is_file():
            raise PocketError(f"{path} can't be read", "there is no such file", "check the path")
        with tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
            link = Path(folder, STATE)
            link.symlink_to(path.absolute())
            self.phone.push([link], f"{self._session}/")
        self._names[STATE] = path
        try:
            yield STATE
        finally:
            self.phone.run(f"rm -f {self._session}/{STATE}")

    def local(self, text: str) -> str:
        """Plan and state file by their names here."""
        for there, here in self._names.items():
            text = text.replace(there, str(here))
        return text

    def death(self, code: int, said: Sequence[str]) -> PocketError:
        """Exit codes in words, and what the runner was at."""
        try:
            process = self._session.rpartition("/")[2]
            journal = self.phone.run(f"cat {HOME}/{self._cache}/journal.{process}", timeout=20).out
            return explain(self.phone, code, said, task_of(journal))
        except PocketError as error:  # the phone itself is gone
            return error

    def leave(self) -> None:
        """Remove the working folder; one that stays, the next run removes."""
        if self._session:
            with suppress(PocketError):
                self.phone.run(f"rm -rf {self._session}", timeout=20)
            self._session = ""

    def close(self) -> None:
        """Remove the copies here."""
        self._folder.cleanup()

    def figures(self) -> dict[str, Any]:
        """Which phone it is, and what was copied to it."""
        known = {"serial": self.phone.serial, **asdict(self.about)}
        return {**known, **asdict(self.store.transfer)}


def items_of(path: Path, plan: Plan) -> list[Item]:
    """A plan's files. Weights are hashed by the phone after the copy; people edit only texts."""
    items = [file_item(PLAN_FILE, path / PLAN_FILE)]
    for entry in plan.files:
        source = path / entry.path
        if entry.path.endswith(TEXT_SUFFIXES):
            items.append(file_item(entry.path, source))
        else:
            items.append(Item(entry.path, source, entry.sha256, entry.bytes))
    return items
