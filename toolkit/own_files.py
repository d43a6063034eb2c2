"""Files and folders that only their owner can change: what is run comes from such.

The runner looks at its own caches in the same way (android_runner/base/own_files.cpp).
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
    """Make a folder, and those above it, where they are missing: for their owner only."""
    missing = list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    for path in reversed(missing):
        try:
            path.mkdir(mode=stat.S_IRWXU)
        except FileExistsError:  # another process makes it, too
            continue
        path.chmod(stat.S_IRWXU)  # the umask took some


def weakness(path: Path) -> str:
    """Why others can change what lies at `path`, or put something else there; empty if none can.

    Every folder above it is looked at, and every link on the way.
    """
    try:
        for place, is_end in _way(path.absolute()):
            status = place.lstat()
            if why := _of_own(place, status) if is_end else _on_the_way(place, status):
                return why
    except OSError as error:  # mostly: nothing is there yet
        return f"{path} is a link without an end" if error.errno == errno.ELOOP else ""
    return ""


def weakness_within(folder: Path) -> str:
    """The same of a folder and of everything that is in it."""
    inner = (_of_own(path, path.lstat()) for path in folder.rglob("*"))
    return weakness(folder) or next(filter(None, inner), "")


def seal(folder: Path) -> None:
    """Take from everybody else what the umask gave them of a folder and all that is in it."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXU)


def _way(path: Path) -> Iterator[tuple[Path, bool]]:
    """Folders and links that are passed on the way to `path`; and what is there, marked as that."""
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


def _on_the_way(path: Path, status: os.stat_result) -> str:
    """Of a folder above, or a link: whoever can exchange what is below.

    A group may: systems give each user one of their own, and what others put there is not the
    user's.
    """
    if status.st_uid not in (0, os.geteuid()):
        return f"user {status.st_uid} owns {path}"
    open_to_all = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH
    return (
        f"others can write to {path}" if open_to_all and not status.st_mode & stat.S_ISVTX else ""
    )
