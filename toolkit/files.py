"""A folder, or a file, that appears all at once or not at all.

It is filled under a temporary name beside its place and renamed at the end. What is temporary is
locked for as long as its process lives; what nobody holds is left over from one that was killed,
and is removed by the next. The runner does the same with its files (android_runner/base/files.cpp).
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
    """A folder beside `out`, its maker's only, that is gone at the end, whatever happens."""
    _remove_leftovers(out.parent, _prefix(out))
    folder, lock = _locked_folder(out)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def fill_once(out: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `out` by `fill`, for its owner only, unless it is there.

    Who comes meanwhile waits for it. One that others can change is set aside, after a note.
    """
    with suppress(FileNotFoundError):  # it is just being set aside
        if out.is_dir() and not weakness_within(out):
            return
    make_own_folder(out.parent)
    if why := weakness(out.parent):
        raise PocketError(f"{out.parent} can't be used", why, "a folder that only you can write to")
    with alone_in(out.parent):
        if out.is_dir() and (why := weakness_within(out)):
            _set_aside(out, why)
        if not out.is_dir():
            _remove_leftovers(out.parent)  # of other versions, too
            with temporary_beside(out) as folder:
                fill(folder)
                seal(folder)
                put_in_place(folder, out, _check_no_file)


def _check_no_file(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise PocketError(f"{out} is in the way", "a folder belongs there", "remove it")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Who else asks for this folder waits meanwhile."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _set_aside(out: Path, why: str) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f"{out.name}.unsafe-", dir=out.parent))
    out.rename(aside)
    print(unsafe(aside, why, "it is made anew"), file=sys.stderr)


def put_in_place(folder: Path, out: Path, check: Callable[[Path], None]) -> None:
    """Make everything in `folder` safe on disk, then give it the name `out`.

    What was there before has the name `folder` afterwards: at no moment there is nothing.
    `check` raises where `out` may not be replaced.
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
        with suppress(FileNotFoundError):  # it was there a moment ago: the name is free again
            exchange(folder, out)
            break
    _sync_folder(out.parent)


# --- files -------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Write a file so that at any moment it holds either what it held before or all of `text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` at a good end."""
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
            if _hold(folder, lock):
                return folder, lock


def _locked_file(out: Path) -> tuple[Path, int]:
    while True:
        handle, name = tempfile.mkstemp(prefix=_prefix(out), dir=out.parent)
        if _hold(Path(name), handle):
            return Path(name), handle


def _hold(path: Path, handle: int) -> bool:
    """Lock what was just made; False where somebody took it for a leftover before that."""
    fcntl.flock(handle, fcntl.LOCK_EX)
    with suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), os.fstat(handle)):
            return True
    os.close(handle)
    return False


def _remove_leftovers(folder: Path, beginning: str = ".") -> None:
    names = [name for name in os.listdir(folder) if name.startswith(beginning)]
    for path in [folder / name for name in names if PARTIAL in name]:
        with suppress(OSError):  # it is held, another user's, or gone
            _remove_unless_held(path)


def _remove_unless_held(path: Path) -> None:
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
    """Raise if a file cannot be written there, before minutes of measuring."""
    if not path.absolute().parent.is_dir():
        raise PocketError(f"{path} cannot be written", "its folder does not exist", "another path")
