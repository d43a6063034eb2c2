"""A device for the real adb: adbd in a thread of this process, with faults to switch on."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from adbd import Stream, Transport
from adbd_shell import shell
from adbd_sync import Sync
from phone_files import ARM64, DATA, PhoneFiles
from phone_root import PhoneRoot
from rootfs import arm64_root

Unready = Literal["unauthorized", "offline"]

FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir,fixed_push_symlink_timestamp"


@dataclass
class Faults:
    """What goes wrong from now on; a test changes it at any time.

    unplug_after      the cable comes off when so many more bytes have been pushed
    full_after        likewise, the storage is full: something else has filled it in between
    bytes_per_second  of the cable, both ways together
    exit_codes        {part of a command: the code told in place of its own}
    state             what adb sees when it next connects
    """

    unplug_after: int | None = None
    full_after: int | None = None
    bytes_per_second: float | None = None
    exit_codes: dict[str, int] = field(default_factory=dict)
    state: Literal["device"] | Unready = "device"


class Device:
    """A loopback device: plugged in, its serial is an address that `adb connect` takes."""

    def __init__(self, files: PhoneFiles, root: PhoneRoot) -> None:
        self.files, self.root, self.faults = files, root, Faults()
        self.received: Counter[str] = Counter()  # bytes pushed, by path of the device
        self.commands: list[str] = []  # what its shell was asked to run
        self._port, self._server, self._transports = 0, None, set[Transport]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def serial(self) -> str:
        """Its name for adb."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Boot it, and plug it in."""
        self.root.start()
        self._thread.start()
        self.plug_in()

    def stop(self) -> None:
        """Unplug it for good."""
        self.unplug()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.root.stop()

    def plug_in(self) -> None:
        """Listen, at the same address as before."""
        self._call(self._listen())

    def unplug(self) -> None:
        """Drop every connection at once; what runs for them ends."""
        self._call(self._leave())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self._port, limit=4 << 20, reuse_address=True
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _leave(self) -> None:
        if self._server:
            self._server.close()
        for transport in list(self._transports):
            transport.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.faults.state == "offline":
            await reader.read()  # nobody answers
            return writer.close()
        banner = self._banner() if self.faults.state == "device" else b""
        transport = Transport(reader, writer, banner, self._serve, self._pace)
        self._transports.add(transport)
        await transport.run()
        self._transports.discard(transport)

    def _banner(self) -> bytes:
        told = {"name": "device", "model": "model", "device": "device"}
        properties = (
            (name, self.files.properties[f"ro.product.{of}"]) for name, of in told.items()
        )
        words = "".join(f"ro.product.{name}={value};" for name, value in properties)
        return f"device::{words}features={FEATURES}".encode()

    async def _serve(self, stream: Stream, name: str) -> None:
        kind, _, rest = name.partition(":")
        service, *options = kind.split(",")
        if service in ("shell", "exec"):
            await stream.accept()
            await self._run(stream, rest, v2="v2" in options)
        elif service == "sync":
            await stream.accept()
            await Sync(stream, self.root.locate, self._pushed).run()
        elif service == "tcp":
            await _forward(stream, int(rest))

    async def _run(self, stream: Stream, command: str, v2: bool) -> None:
        self.commands.append(command)
        codes = (code for part, code in self.faults.exit_codes.items() if part in command)
        argv, environment = self.root.argv(command), self.root.environment
        await shell(stream, argv, environment, v2, pretend=next(codes, None))

    def _pushed(self, path: str, size: int) -> None:
        """What happens when a file gets `size` more bytes."""
        faults = self.faults
        if faults.unplug_after is not None:
            faults.unplug_after -= size
            if faults.unplug_after < 0:
                faults.unplug_after = None
                self._loop.create_task(self._leave())
                raise ConnectionResetError
        if faults.full_after is not None:
            faults.full_after -= size
            if faults.full_after < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.received[path] += size

    async def _pace(self, size: int) -> None:
        if rate := self.faults.bytes_per_second:
            await asyncio.sleep(size / rate)


async def _forward(stream: Stream, port: int) -> None:
    """`adb forward tcp:… tcp:PORT`: a connection to a server on the device."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return  # the stream closes without having been accepted
    await stream.accept()

    async def upwards() -> None:
        while data := await stream.read_some():
            writer.write(data)
            await writer.drain()
        writer.close()

    sending = asyncio.create_task(upwards())
    while data := await reader.read(64 << 10):
        await stream.write(data)
    sending.cancel()


Make = Callable[..., Device]


def native_device(folder: Path, data: Path | None = None, **properties: str) -> Device:
    """A device that runs this machine's programs; `data` is its /data/local/tmp, kernels too."""
    files = PhoneFiles(folder, properties)
    as_here = {name: value for name, value in os.environ.items() if name.startswith("POCL_")}
    environment = as_here | {"POCL_CACHE_DIR": f"{DATA}/pocl"}
    root = PhoneRoot(files, folders={DATA: data} if data else {}, environment=environment)
    return Device(files, root)


def arm64_device(folder: Path, data: Path | None = None, **properties: str) -> Device:
    """A device that runs arm64 programs of Android's kind; `data` is its /data/local/tmp."""
    files = PhoneFiles(folder, ARM64 | properties)
    return Device(files, arm64_root(files, {DATA: data} if data else {}))
