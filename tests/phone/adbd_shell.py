"""adbd's shell and exec services: a command on the device, its pipes and its exit code.

A packet of shell_v2 is a kind (one byte), a length (four) and the data; see shell_protocol.h.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Mapping, Sequence

from adbd import Stream

PACKET = struct.Struct("<BI")
STDIN, OUT, ERR, EXIT, CLOSE_STDIN = 0, 1, 2, 3, 4


async def shell(
    stream: Stream,
    argv: Sequence[str],
    env: Mapping[str, str],
    v2: bool,
    pretend: int | None = None,
) -> None:
    """Run a command until it ends, or until the client leaves: then the command is killed.

    v2       stdout and stderr apart, and the exit code; else one stream and no code (exec)
    pretend  tell this exit code in place of the command's own
    """
    error = PIPE if v2 else STDOUT
    child = await asyncio.create_subprocess_exec(
        *argv, stdin=PIPE, stdout=PIPE, stderr=error, env=env, start_new_session=True
    )
    feeding = asyncio.create_task(_feed(stream, child, v2))
    try:
        pipes = {OUT: child.stdout, ERR: child.stderr}
        await asyncio.gather(
            *(_pump(stream, pipe, kind if v2 else None) for kind, pipe in pipes.items() if pipe)
        )
        code = await child.wait()
        if v2:
            told = _exit_code(code) if pretend is None else pretend
            await stream.write(PACKET.pack(EXIT, 1) + bytes([told]))
    finally:
        feeding.cancel()
        _kill(child)
        await child.wait()


async def _pump(stream: Stream, pipe: asyncio.StreamReader, kind: int | None) -> None:
    while data := await pipe.read(64 << 10):
        await stream.write(data if kind is None else PACKET.pack(kind, len(data)) + data)


async def _feed(stream: Stream, child: Process, v2: bool) -> None:
    """What the client types. It goes on after close-stdin: only so is its leaving seen."""
    assert child.stdin
    with contextlib.suppress(EOFError):
        while True:
            kind, data = await _packet(stream) if v2 else (STDIN, await stream.read_some())
            if kind == STDIN and data:
                with contextlib.suppress(ConnectionError):  # it reads no more; its output counts
                    child.stdin.write(data)
                    await child.stdin.drain()
            elif kind == CLOSE_STDIN:
                child.stdin.close()
            else:
                return child.stdin.close()  # exec: the stream's end is the input's end
    _kill(child)


async def _packet(stream: Stream) -> tuple[int, bytes]:
    kind, size = PACKET.unpack(await stream.read(PACKET.size))
    return kind, await stream.read(size)


def _kill(child: Process) -> None:
    """The command and all that it started: adbd's shell is a session of its own."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _exit_code(code: int) -> int:
    """The one byte that adb tells; a signal's as a shell would."""
    return (code if code >= 0 else 128 - code) & 255
