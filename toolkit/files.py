"""Write a folder or a file atomically: it appears complete or not at all.

It is filled under a temporary name in the target's folder and renamed at the end. Temporary names
are locked for as long as their process lives; one without a lock was left by a killed process and
is removed by the next. The runner does the same with its files (android_runner/base/files.cpp).
"""

import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import PocketError
from toolkit.exchange import exchange
from toolkit.own_files import make_own_folder, seal, weakness, weakness_within
from toolkit.paths import unsafe

PARTIAL = ".partial-"


# --- folders -----------------------------------------------------------------------------------


@contextmanager
def temporary_beside(out: Path) -> Iterator[Path]:
    """A temporary folder next to `out`, readable by its owner only; always removed at the end."""
    _remove_leftovers(out.parent, _prefix(out))
    folder, lock = _locked_folder(out)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def fill_once(out: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `out` by `fill`, for its owner only, unless it exists.

    Concurrent callers block until it exists. A folder that others can change is renamed, with a
    note on stderr, and made again.
    """
    with suppress(FileNotFoundError):  # another process is setting it aside
        if out.is_dir() and not weakness_within(out):
            return
    make_own_folder(out.parent)
    if why := weakness(out.parent):
        raise PocketError(
            f"{out.parent} can't be used", why, "choose a folder that only you can write to"
        )
    with alone_in(out.parent):
        if out.is_dir() and (why := weakness_within(out)):
            _set_aside(out, why)
        if not out.is_dir():
            _remove_leftovers(out.parent)  # those of other versions, too
            with temporary_beside(out) as folder:
                fill(folder)
                seal(folder)
                put_in_place(folder, out, _check_no_file)


def _check_no_file(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise PocketError(f"{out} is no folder", "PocketCL needs a folder there", "remove it")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on this folder; other callers block."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _set_aside(out: Path, why: str) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f"{out.name}.unsafe-", dir=out.parent))
    out.rename(aside)
    print(unsafe(aside, why, "it is made again"), file=sys.stderr)


def put_in_place(folder: Path, out: Path, check: Callable[[Path], None]) -> None:
    """Flush everything in `folder` to disk, then rename it to `out`.

    What `out` was before has the name `folder` afterwards, so that at every moment `out` exists.
    `check` raises if `out` may not be replaced.
    """
    for inner in (folder, *(f for f in folder.rglob("*") if f.is_dir())):
        _sync_folder(inner)
    while True:
        check(out)
        try:
            folder.rename(out)  # to a free name, or an empty folder
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with suppress(FileNotFoundError):  # `out` was removed meanwhile: the name is free again
            exchange(folder, out)
            break
    _sync_folder(out.parent)


# --- files -------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Replace a file's content atomically: readers see the old text or all of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that replaces `path` if the block ends without an error."""
    _remove_leftovers(path.parent, _prefix(path))
    name, handle = _locked_file(path)
    try:
        with open(handle, "wb", closefd=False) as file:
            yield file
            file.flush()
            os.fsync(handle)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        name.unlink(missing_ok=True)
        os.close(handle)
    _sync_folder(path.parent)


# --- names, locks and leftovers ----------------------------------------------------------------


def _prefix(out: Path) -> str:
    return f".{out.name}{PARTIAL}"


def _locked_folder(out: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            if _lock(folder, lock):
                return folder, lock


def _locked_file(out: Path) -> tuple[Path, int]:
    while True:
        handle, name = tempfile.mkstemp(prefix=_prefix(out), dir=out.parent)
        if _lock(Path(name), handle):
            return Path(name), handle


def _lock(path: Path, handle: int) -> bool:
    """Lock what was just made; False if another process removed it as a leftover before that."""
    fcntl.flock(handle, fcntl.LOCK_EX)
    with suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), os.fstat(handle)):
            return True
    os.close(handle)
    return False


def _remove_leftovers(folder: Path, beginning: str = ".") -> None:
    names = [name for name in os.listdir(folder) if name.startswith(beginning)]
    for path in [folder / name for name in names if PARTIAL in name]:
        with suppress(OSError):  # it is locked, another user's, or gone
            _remove_unless_locked(path)


def _remove_unless_locked(path: Path) -> None:
    lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    finally:
        os.close(lock)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_folder(path: Path) -> None:
    """Raise if the folder of a file to write does not exist, before minutes of measuring."""
    if not path.absolute().parent.is_dir():
        raise PocketError(
            f"{path} cannot be written",
            "its folder does not exist",
            "make it, or choose another path",
        )
