"""adbd's side of the adb protocol over TCP, without authentication: messages and streams.

A message is six little-endian words (command, two arguments, length and sum of the payload, the
command's complement) and the payload. `OPEN` names a service; each stream has one `WRTE` in
flight, which the other side answers with `OKAY`. See adb's protocol.txt.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable

HEADER = struct.Struct("<6I")
VERSION = 0x01000001  # from here on nobody checks the payload's sum
MAX_PAYLOAD = 1 << 20


def _word(name: bytes) -> int:
    return int.from_bytes(name, "little")


CNXN, OPEN, OKAY, WRTE, CLSE, AUTH = map(
    _word, (b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE", b"AUTH")
)


class Stream:
    """One service in use: exact reads, and writes that wait for the other side's OKAY."""

    def __init__(self, transport: Transport, local: int, remote: int) -> None:
        self._transport, self._ends = transport, (local, remote)
        self._received, self._arrived = bytearray(), asyncio.Event()
        self._may_write, self._writing = asyncio.Event(), asyncio.Lock()
        self._closed = False
        self._may_write.set()

    async def accept(self) -> None:
        """Say that the service is there."""
        await self._transport.send(OKAY, *self._ends)

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes; EOFError when the stream ends before."""
        while len(self._received) < size:
            if self._closed:
                raise EOFError
            await self._more()
        return self._take(size)

    async def read_some(self) -> bytes:
        """What has arrived, at least one byte; b"" at the end."""
        while not self._received and not self._closed:
            await self._more()
        return self._take(len(self._received))

    async def write(self, data: bytes) -> None:
        """Send all of it, a payload at a time."""
        largest = self._transport.max_payload
        async with self._writing:
            for start in range(0, len(data), largest):
                await self._may_write.wait()
                if self._closed:
                    raise EOFError
                self._may_write.clear()
                await self._transport.send(WRTE, *self._ends, data[start : start + largest])

    async def close(self) -> None:
        """Tell the other side that this is all."""
        await self._transport.send(CLSE, *self._ends)

    async def _more(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    # What the transport tells the stream.

    async def on_write(self, data: bytes) -> None:
        self._received += data
        self._arrived.set()
        await self.accept()  # OKAY also means: send the next

    def on_okay(self) -> None:
        self._may_write.set()

    def on_close(self) -> None:
        self._closed = True
        self._arrived.set()
        self._may_write.set()


Service = Callable[[Stream, str], Awaitable[None]]


class Transport:
    """One connection of an adb server: takes messages, runs each opened service as a task."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        banner: bytes,
        service: Service,
        pace: Callable[[int], Awaitable[None]],
    ) -> None:
        """`banner` is what CNXN says; empty: the device wants a key, and gets none that it knows.

        `pace(size)` returns when a message of that size has had its time on the cable.
        """
        self._reader, self._writer = reader, writer
        self._banner, self._service, self._pace = banner, service, pace
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened, self._sums, self.max_payload = 0, False, 4096

    async def run(self) -> None:
        """Serve until the other side leaves or `cut` is called; then end what still runs."""
        try:
            while True:
                header = await self._reader.readexactly(HEADER.size)
                command, first, second, size, _, _ = HEADER.unpack(header)
                await self._take(command, first, second, await self._reader.readexactly(size))
                await self._pace(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.cut()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Drop the connection as an unplugged cable does: no CLSE, nothing more is sent."""
        if transport := self._writer.transport:
            transport.abort()
        for stream in self._streams.values():
            stream.on_close()
        for task in self._tasks:
            task.cancel()

    async def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        """Send a message."""
        checksum = sum(data) & 0xFFFFFFFF if self._sums else 0
        words = (command, first, second, len(data), checksum, command ^ 0xFFFFFFFF)
        self._writer.write(HEADER.pack(*words) + data)
        await self._pace(len(data))
        await self._writer.drain()

    async def _take(self, command: int, first: int, second: int, data: bytes) -> None:
        stream = self._streams.get(second)
        if command == CNXN:
            self.max_payload, self._sums = min(second, MAX_PAYLOAD), first < VERSION
            await self._greet()
        elif command == AUTH:
            await self._greet()  # a signature or a public key: known only where no key is wanted
        elif command == OPEN:
            self._open(first, data.rstrip(b"\0").decode())
        elif stream and command == WRTE:
            await stream.on_write(data)
        elif stream and command == OKAY:
            stream.on_okay()
        elif stream and command == CLSE:
            del self._streams[second]
            stream.on_close()

    async def _greet(self) -> None:
        if self._banner:
            await self.send(CNXN, VERSION, MAX_PAYLOAD, self._banner)
        else:
            await self.send(AUTH, 1, 0, bytes(20))  # sign these 20 bytes

    def _open(self, remote: int, name: str) -> None:
        self._opened += 1
        stream = self._streams[self._opened] = Stream(self, self._opened, remote)
        task = asyncio.create_task(self._serve(self._opened, stream, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, local: int, stream: Stream, name: str) -> None:
        """An unknown service only closes the stream: the client says `error: closed`."""
        try:
            with contextlib.suppress(EOFError, ConnectionError):
                await self._service(stream, name)
        finally:
            self._streams.pop(local, None)
        with contextlib.suppress(ConnectionError):
            await stream.close()
