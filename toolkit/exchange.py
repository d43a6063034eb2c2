"""Exchange the names of two files or folders."""

import ctypes
import errno
import fcntl
import os
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # Linux: renameat2(2)
CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def exchange(first: Path, second: Path) -> None:
    """Exchange atomically where the file system can; else one has no name for a moment."""
    number = _renameat2(first, second)
    if number in CANNOT:
        _one_after_the_other(first, second)
    elif number:
        raise OSError(number, os.strerror(number), str(second))


def _renameat2(first: Path, second: Path) -> int:
    """The errno; 0 on success."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return errno.ENOSYS
    names = (AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second))
    return ctypes.get_errno() if call(*names, ctypes.c_uint(RENAME_EXCHANGE)) else 0


def _one_after_the_other(first: Path, second: Path) -> None:
    aside = first.with_name(f"{first.name}.old")
    lock = os.open(second, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # so that no other process removes it as a leftover
        second.rename(aside)
        try:
            first.rename(second)
        except BaseException:
            aside.rename(second)
            raise
        aside.rename(first)
    finally:
        os.close(lock)
