"""Load a plan: everything that could go wrong later is found here, before anything is allocated.

Order: the format, types of all values, files, then meaning: kinds, indices, bounds, sizes, places.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import PocketError
from toolkit.foreign.find_model import refuse_model
from toolkit.paths import PLAN_FILE
from toolkit.plan.check import check_plan
from toolkit.plan.reader import RECOMPILE, from_json
from toolkit.plan.schema import FileEntry, Plan
from toolkit.plan.text import digest
from toolkit.progress import note_on_stderr

TEXT_SUFFIXES = (".cl", ".json", ".txt", ".jinja")  # people edit these; their hash is cheap


def load_plan(path: Path, note: Callable[[str], None] = note_on_stderr) -> Plan:
    """The checked plan of a folder; `note` gets one line for every text file that was edited."""
    where = path / PLAN_FILE
    if not where.is_file():
        refuse_model(path)
        because = f"it has no {PLAN_FILE}"
        raise PocketError(f"{path} is not a plan", because, "pocketcl compile SRC -o PLAN")
    with _readable(where):
        text = where.read_bytes().decode()
    plan = from_json(text, str(where))
    check_plan(plan, str(where))
    edited = [] if f'"digest": "{digest(text)}"' in text else [PLAN_FILE]
    edited += [entry.path for entry in plan.files if not _is_as_compiled(path, entry)]
    for name in edited:
        note(f"note: {path / name} was edited after the compile")
    return plan


class SamePlan:
    """A plan folder, to be sure later that it is still the one that was read."""

    def __init__(self, path: Path) -> None:
        """Before it is read."""
        self._path, self._seen = path, _identity(path)

    def check(self) -> None:
        """Raise where another has taken its place: what was read may be of both."""
        if _identity(self._path) != self._seen:
            what = f"{self._path} was replaced while it was read"
            raise PocketError(what, "another compile wrote to it, or it was edited", "run it again")


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = (path / PLAN_FILE).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def plan_digest(path: Path) -> str:
    """What tells this plan from others: the hash of plan.json as it is now."""
    with _readable(path / PLAN_FILE):
        return digest((path / PLAN_FILE).read_bytes().decode())


def check_hashes(path: Path, plan: Plan) -> None:
    """Hash every file that people don't edit; raise on the first that is not what was compiled."""
    for entry in plan.files:
        file = path / entry.path
        if entry.path.endswith(TEXT_SUFFIXES):
            continue
        with _readable(file), file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != entry.sha256:
            because = f"its sha256 is {found[:12]}…, {PLAN_FILE} says {entry.sha256[:12]}…"
            raise PocketError(f"{file} is damaged", because, RECOMPILE)


def _is_as_compiled(path: Path, entry: FileEntry) -> bool:
    """False for an edited text file; a missing or cut-off file is an error."""
    file = path / entry.path
    with _readable(file):
        if entry.path.endswith(TEXT_SUFFIXES):
            return hashlib.sha256(file.read_bytes()).hexdigest() == entry.sha256
        size = file.stat().st_size
    if size != entry.bytes or not file.is_file():
        because = f"it has {size} bytes, the plan lists {entry.bytes}"
        raise PocketError(f"{file} is damaged", because, RECOMPILE)
    return True


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise PocketError(f"{file} is missing", "the plan lists it", RECOMPILE) from None
    except (OSError, ValueError) as error:
        raise PocketError(f"cannot read {file}", error, RECOMPILE) from None


def is_plan(path: Path) -> bool:
    """Whether this is a plan's folder (else it is taken for a model)."""
    return (path / PLAN_FILE).exists()
