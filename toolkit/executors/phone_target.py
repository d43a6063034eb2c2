"""A phone as the machine that a runner runs on."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.files import temporary_beside
from toolkit.offload.points import choose_point
from toolkit.paths import PLAN_FILE
from toolkit.phone.about import check_memory, check_system
from toolkit.phone.runner import UP, PhoneRunner
from toolkit.phone.store import Item, file_item
from toolkit.plan.load import TEXT_SUFFIXES
from toolkit.plan.schema import Plan

STATE = "text.state"  # a state file in the runner's working folder


class PhoneTarget(PhoneRunner):
    """A phone and what belongs to a plan on it: its files, state files, copies of them here."""

    executor = "phone"

    def __init__(self, serial: str | None = None) -> None:
        """Find the phone: of this serial, or the only one there is."""
        super().__init__(serial)
        self._folder = tempfile.TemporaryDirectory(prefix="pocketcl-")
        self._names: dict[str, Path] = {}  # of files there, as the runner calls them -> here

    def prepare(self, path: Path, plan: Plan, memory: int | None = None) -> str:
        """Check the phone, then copy what it lacks: the runner first, which looks for OpenCL."""
        point = choose_point(plan, memory) if plan.tables else None
        check_system(self.about)
        items = items_of(path, plan)
        check_memory(plan, self.about, point)
        self.store.check_space(items)
        self.install_runner()
        if self.store.missing(items):
            check_class(plan, self.opencl(), self.about.model)
        there = UP + self.store.install("plans", items)
        self._names[there] = path
        return there

    def facts(self) -> dict[str, Any]:
        """Which phone it is and what was copied to it."""
        return {"phone": self.figures()}

    def shell(self, command: str) -> str:
        """What a command prints on the phone."""
        return self.phone.shell(command, check=False)

    def options(self, cache: Path | str | None) -> list[str]:
        """Compiled programs stay on the phone, in `cache` below HOME."""
        self._cache = str(cache or "cache")
        return ["--cache", UP + self._cache]

    def warm(self, wish: Path | str) -> str:
        """Beside compiled programs; another folder is one below HOME, too."""
        if wish == "off":
            return ""
        return UP + ("cache/warm" if wish == "auto" else str(wish))

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

    def close(self) -> None:
        """Remove the copies here."""
        self._folder.cleanup()


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


def check_class(plan: Plan, devices: list[dict[str, Any]], model: str) -> None:
    """Notes: known faults of the driver; that the plan was compiled for another kind of GPU."""
    from toolkit.devices.profiles import faults_of, match, profiles

    for device in devices:
        for fault in faults_of(device):
            if not fault.avoided:
                said = f"note: the OpenCL driver of {model} is known for this: {fault.note()}"
                print(said, file=sys.stderr)
    known = profiles()
    wanted = str(plan.profile.get("class", "generic"))
    names = [match(d["platform"], d["name"], known) for d in devices]
    kinds = {known[name]["class"] for name in names}
    if wanted not in kinds and kinds:
        there = ", ".join(d["name"] for d in devices)
        note = f"note: the plan was compiled for {wanted} ({plan.profile.get('name')})"
        hint = "pocketcl compile SRC -o PLAN --device phone suits it"
        print(f"{note}, {model} has {there}: {hint}", file=sys.stderr)
