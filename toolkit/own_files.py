"""Files and folders that only their owner can change: programs are run only from such folders.

The runner checks its own caches in the same way (android_runner/base/own_files.cpp).
"""

import errno
import os
import stat
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

MOST_LINKS = 40
BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def make_own_folder(folder: Path) -> None:
    """Make a folder and its missing parents, accessible to their owner only."""
    missing = list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    for path in reversed(missing):
        try:
            path.mkdir(mode=stat.S_IRWXU)
        except FileExistsError:  # another process has just made it
            continue
        path.chmod(stat.S_IRWXU)  # the umask may have removed some of these bits


def weakness(path: Path) -> str:
    """Why others can change or replace what lies at `path`; empty if they cannot.

    Checks every folder above it and every link that leads to it.
    """
    try:
        for each, is_end in _steps_to(path.absolute()):
            status = each.lstat()
            if why := _of_own(each, status) if is_end else _of_step(each, status):
                return why
    except OSError as error:  # usually: it does not exist yet
        return f"{path} is a link without an end" if error.errno == errno.ELOOP else ""
    return ""


def weakness_within(folder: Path) -> str:
    """The same for a folder and everything in it."""
    inner = (_of_own(path, path.lstat()) for path in folder.rglob("*"))
    return weakness(folder) or next(filter(None, inner), "")


def seal(folder: Path) -> None:
    """Remove everybody else's permissions on a folder and everything in it."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXU)


def _steps_to(path: Path) -> Iterator[tuple[Path, bool]]:
    """Each folder and link that the lookup of `path` passes, then its end, marked True."""
    rest, at, links = list(reversed(path.parts[1:])), Path("/"), 0
    while rest or at.is_symlink():
        yield at, False
        if at.is_symlink():
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = Path(os.readlink(at))
            rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            at = Path("/") if target.is_absolute() else at.parent
        if rest:
            name = rest.pop()
            at = at.parent if name == ".." else at / name
    yield at, True


def _of_own(path: Path, status: os.stat_result) -> str:
    if status.st_uid != os.geteuid():
        return f"user {status.st_uid} owns {path}"
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a link"
    return f"others can write to {path}" if status.st_mode & BY_OTHERS else ""


def _of_step(path: Path, status: os.stat_result) -> str:
    """Why others can replace what is below a folder or link.

    Group write is allowed: most systems give each user a group of their own, and the end of the
    path must be the user's in any case.
    """
    if status.st_uid not in (0, os.geteuid()):
        return f"user {status.st_uid} owns {path}"
    open_to_all = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH
    return (
        f"others can write to {path}" if open_to_all and not status.st_mode & stat.S_ISVTX else ""
    )
