"""A folder, or a file, that appears all at once or not at all.

It is filled under a temporary name beside its place and renamed at the end. The temporary folder is
locked while its compile lives; one that nobody holds is left over from a killed compile and is
removed by the next.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import PocketError
from toolkit.plan import PLAN_FILE


def check_target(out: Path) -> None:
    """Raise unless a plan may be written to `out`: it is free, an empty folder or an older plan."""
    if out.is_dir() and (not any(out.iterdir()) or _is_plan_folder(out)):
        return
    if out.exists():
        raise PocketError(
            f"{out} exists and is not a plan",
            "a compile replaces only a plan folder of PocketCL",
            "choose another -o, or remove it first",
        )


def _is_plan_folder(folder: Path) -> bool:
    try:
        body = json.loads((folder / PLAN_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(body, dict) and str(body.get("generator", "")).startswith("pocketcl")


@contextmanager
def temporary_beside(out: Path) -> Iterator[Path]:
    """A locked folder beside `out` that is gone at the end, whatever happens."""
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(out)
    folder = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.chmod(0o755)  # mkdtemp made it private; a plan is an ordinary folder
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def fill_once(out: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `out` by `fill`, unless it is there; who comes meanwhile waits for it."""
    if out.is_dir():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(out.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.is_dir():
            with temporary_beside(out) as folder:
                fill(folder)
                put_in_place(folder, out)
    finally:
        os.close(lock)


def _prefix(out: Path) -> str:
    return f".{out.name}.partial-"


def _remove_leftovers(out: Path) -> None:
    for folder in (f for f in out.parent.iterdir() if f.name.startswith(_prefix(out))):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # another compile is at work there
        finally:
            os.close(lock)


def write_text(path: Path, text: str) -> None:
    """Write a file so that at any moment it holds either what it held before or all of `text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    _sync_folder(path.parent)


def put_in_place(folder: Path, out: Path) -> None:
    """Make everything in `folder` safe on disk, then give it the name `out`."""
    for inner in (folder, *(f for f in folder.rglob("*") if f.is_dir())):
        _sync_folder(inner)
    if not out.exists():
        folder.rename(out)
    else:
        check_target(out)  # again: packing took its time
        old = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        out.rename(old)
        try:
            folder.rename(out)
        except BaseException:
            old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _sync_folder(out.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
