"""adbd's sync service: files to and from the device.

A request is four letters, a length and a path; see adb's SYNC.TXT and file_sync_protocol.h.
`sendrecv_v2` (compression) is not announced, so that the bytes counted are the files' own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from adbd import Stream

REQUEST = struct.Struct("<4sI")
STAT_V1 = struct.Struct("<3I")  # mode, size, mtime
STAT_V2 = struct.Struct("<IQQIIIIQqqq")  # error, dev, ino, mode, nlink, uid, gid, size, 3 times
CHUNK = 64 << 10  # of a DATA packet; adb takes no larger ones
SHELL = 2000  # the user and group of files that adb's shell owns

Storage = Callable[[str, int], None]
"""Called with a path and the bytes about to be written to it; raises OSError to refuse them."""


class Sync:
    """One client of the sync service."""

    def __init__(self, stream: Stream, locate: Callable[[str], Path], storage: Storage) -> None:
        """`locate` gives the place on this machine of a path on the device."""
        self._stream, self._locate, self._storage = stream, locate, storage

    async def run(self) -> None:
        """Answer requests until QUIT."""
        while True:
            request, size = REQUEST.unpack(await self._stream.read(REQUEST.size))
            if request == b"QUIT":
                return
            path = (await self._stream.read(size)).decode()
            match request:
                case b"STAT":
                    found = self._stat(path, follow=False)
                    await self._stream.write(b"STAT" + _stat_v1(found))
                case b"STA2" | b"LST2":
                    found = self._stat(path, follow=request == b"STA2")
                    await self._stream.write(request + _stat_v2(found))
                case b"LIST" | b"LIS2":
                    await self._list(path, version=2 if request == b"LIS2" else 1)
                case b"SEND":
                    await self._take(*path.rsplit(",", 1))
                case b"RECV":
                    await self._give(path)
                case _:
                    return await self._fail(f"unknown request {request!r}")

    def _stat(self, path: str, follow: bool) -> os.stat_result | int:
        try:
            return os.stat(self._locate(path), follow_symlinks=follow)
        except OSError as error:
            return error.errno or errno.EIO

    async def _list(self, path: str, version: int) -> None:
        answer = bytearray()
        names = [".", ".."]
        with contextlib.suppress(OSError):
            names += os.listdir(self._locate(path))
        for name in names:
            found = self._stat(f"{path.rstrip('/')}/{name}", follow=False)
            entry = b"DNT2" + _stat_v2(found) if version == 2 else b"DENT" + _stat_v1(found)
            answer += entry + struct.pack("<I", len(name.encode())) + name.encode()
        end = STAT_V2.size if version == 2 else STAT_V1.size
        await self._stream.write(bytes(answer) + b"DONE" + bytes(end + 4))

    async def _take(self, path: str, mode: str) -> None:
        """A file (or link) from the host; whatever goes wrong is told after the last byte.

        As adbd does: an interrupted transfer leaves what has arrived.
        """
        target, link = self._locate(path), stat.S_ISLNK(int(mode))
        problem: OSError | None = None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if not link:
                target.touch()
        except OSError as error:
            problem = error
        while True:
            packet, size = REQUEST.unpack(await self._stream.read(REQUEST.size))
            if packet == b"DONE":
                break  # `size` is the time of the file's last change
            data = await self._stream.read(size)
            problem = problem or self._write(path, target, data, link)
        if problem:
            return await self._fail(f"couldn't write {path}: {problem.strerror}")
        if not link:
            target.chmod(int(mode) & 0o777)
        os.utime(target, (size, size), follow_symlinks=False)
        await self._stream.write(REQUEST.pack(b"OKAY", 0))

    def _write(self, path: str, target: Path, data: bytes, link: bool) -> OSError | None:
        try:
            self._storage(path, len(data))
            if link:
                target.symlink_to(data.rstrip(b"\0").decode())
            else:
                with target.open("ab") as file:
                    file.write(data)
        except OSError as error:
            return error
        return None

    async def _give(self, path: str) -> None:
        try:
            with self._locate(path).open("rb", buffering=0) as file:
                while data := file.read(CHUNK):
                    await self._stream.write(REQUEST.pack(b"DATA", len(data)) + data)
        except OSError as error:
            return await self._fail(f"open failed: {error.strerror}")
        await self._stream.write(REQUEST.pack(b"DONE", 0))

    async def _fail(self, words: str) -> None:
        await self._stream.write(REQUEST.pack(b"FAIL", len(words.encode())) + words.encode())


def _stat_v1(found: os.stat_result | int) -> bytes:
    if isinstance(found, int):
        return STAT_V1.pack(0, 0, 0)
    return STAT_V1.pack(found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))


def _stat_v2(found: os.stat_result | int) -> bytes:
    if isinstance(found, int):
        return STAT_V2.pack(found, *[0] * 10)
    s = found
    times = (int(s.st_atime), int(s.st_mtime), int(s.st_ctime))
    return STAT_V2.pack(
        0, s.st_dev, s.st_ino, s.st_mode, s.st_nlink, SHELL, SHELL, s.st_size, *times
    )
