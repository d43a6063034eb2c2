"""The machine that a runner runs on: started there, files brought there, its end explained."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from toolkit.errors import PocketError
from toolkit.executors.interface import Machine
from toolkit.paths import cache_dir, warm_dir
from toolkit.phone.exit_reason import task_of
from toolkit.plan.schema import Plan
from toolkit.toolchain.build import build_runner
from toolkit.toolchain.linker import find_linker
from toolkit.toolchain.opencl_loader import find_opencl, runner_environment


class Target(Machine, Protocol):
    """This computer, or a phone (phone_target.py). A runner there has a working folder."""

    executor: str  # as figures call it: "runner", "phone"

    def prepare(self, path: Path, plan: Plan, memory: int | None = None) -> str:
        """Bring runner and plan there, where they are not yet; return the plan's path there.

        memory  bytes that a plan with tables may take; default: as it was compiled for
        """

    def options(self, cache: Path | str | None) -> list[str]:
        """Options of the runner that depend on the machine; `cache` is a folder there."""

    def warm(self, wish: Path | str) -> str:
        """The folder there of what plans had in memory; auto: where it always is, off: nothing."""

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[str]":
        """Start the runner, its streams as pipes."""

    def fetch(self, name: str) -> Path:
        """A file that the runner wrote into its working folder, as a file here."""

    def saving(self, path: Path) -> AbstractContextManager[str]:
        """The name under which the runner writes what is at `path` here in the end."""

    def loading(self, path: Path) -> AbstractContextManager[str]:
        """The name under which the runner finds the file at `path` here."""

    def local(self, text: str) -> str:
        """What the runner says, with files called as they are here."""

    def exit_error(self, code: int, said: Sequence[str]) -> PocketError:
        """Why a runner ended: its exit code (negative: a signal), the last lines of its stderr."""

    def leave(self) -> None:
        """The runner has ended: clear its working folder."""

    def close(self) -> None:
        """Nothing is started there any more."""


class ThisComputer:
    """The machine that this process runs on."""

    def facts(self) -> dict[str, Any]:
        """Nothing: figures say more of a device than of its computer."""
        return {}

    def shell(self, command: str) -> str:
        """What a command of the shell prints; nothing where there is no shell."""
        try:
            done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout

    def warm(self, wish: Path | str) -> str:
        """In $XDG_CACHE_HOME."""
        if wish == "off":
            return ""
        return str(warm_dir() if wish == "auto" else Path(wish).absolute())


class Local(ThisComputer):
    """This computer, for a runner."""

    executor = "runner"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pocketcl-")
        self._cache, self._process = Path(), 0

    def prepare(self, path: Path, plan: Plan, memory: int | None = None) -> str:
        """Build the runner where there is none."""
        build_runner()
        return str(path.absolute())

    def options(self, cache: Path | str | None) -> list[str]:
        """Caches are in $XDG_CACHE_HOME by default; the loader may be the one in a wheel."""
        self._cache = Path(cache or cache_dir() / "programs")
        chosen = self._cache if cache is None else cache  # "": none
        given = {"--cache": chosen, "--cl-lib": find_opencl()}
        return [w for k, v in given.items() if v is not None for w in (k, str(v))]

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[str]":
        """Start it in a session of its own: Ctrl-C reaches Python only, which sends `cancel`."""
        child = subprocess.Popen(
            [str(build_runner()), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            cwd=self._folder.name,
            env=runner_environment(),
            start_new_session=True,
        )
        self._process = child.pid
        return child

    def fetch(self, name: str) -> Path:
        """The file itself."""
        return Path(self._folder.name, name)

    @contextmanager
    def saving(self, path: Path) -> Iterator[str]:
        """The path itself."""
        yield one_line(path)

    @contextmanager
    def loading(self, path: Path) -> Iterator[str]:
        """The path itself."""
        yield one_line(path)

    def local(self, text: str) -> str:
        """The same: names are the ones here."""
        return text

    def exit_error(self, code: int, said: Sequence[str]) -> PocketError:
        """What a signal or a code may mean on a desktop."""
        how = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        journal = self._cache / f"journal.{self._process}"
        doing = task_of(journal.read_text(errors="replace")) if journal.is_file() else ""
        what = f"the driver crashed while {doing}" if doing else "the runner ended unexpectedly"
        hint = "pocketcl doctor; the same run with --on host"
        if code == -signal.SIGABRT and find_linker() is None:
            hint = "apt-get install binutils: PoCL aborts where there is no `ld`"
        if code == -signal.SIGKILL:
            what = f"the runner was killed while {doing}" if doing else what
            hint = "perhaps memory ran out: a smaller --max-context or a smaller model"
        return PocketError(what, "\n".join([how, *said]), hint)

    def leave(self) -> None:
        """The next runner may use the folder."""

    def close(self) -> None:
        """Remove the working folder."""
        self._folder.cleanup()


def one_line(path: Path) -> str:
    """A path as the last word of a command: of all characters only these two would end it."""
    text = str(Path(path).absolute())
    if "\n" in text or "\t" in text:
        because = "the runner reads names from one line"
        raise PocketError(f"{text!r} can't be used", because, "a name without tab and line break")
    return text
