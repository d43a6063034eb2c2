"""What a phone's linker asks of a program: the runner built by zig keeps it, damage is refused."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from needed import absent

from toolkit.errors import PocketError
from toolkit.toolchain import elf
from toolkit.toolchain.android import VARIABLE, build_android_runner, zig_toolchain
from toolkit.toolchain.build import build
from toolkit.toolchain.sysroot import find_zig, symbols

pytestmark = pytest.mark.slow  # zig takes a minute
# 370_000 before it read weights from flash: tables, caches, reads, gathers; rows; then threads
LARGEST = 615_000
ALLOWED = frozenset(name for names in symbols().values() for name in names)
DEBUG, UNKNOWN_TAG = 21, 99


@pytest.fixture(scope="module")
def runner() -> Path:
    if find_zig() is None:
        absent("no package ziglang: pip install 'pocketcl[android]'")
    return build(zig_toolchain())


@pytest.fixture
def data(runner: Path) -> bytearray:
    return bytearray(runner.read_bytes())


def header(data: bytearray, kind: int) -> int:
    """Where the program header of the first segment of this type lies."""
    (start,) = struct.unpack_from("<Q", data, 32)
    headers = range(start, start + 56 * struct.unpack_from("<H", data, 56)[0], 56)
    return next(at for at in headers if struct.unpack_from("<I", data, at)[0] == kind)


def put(form: str, kind: int, field: int, value: int) -> Callable[[bytearray], None]:
    """A change of one field, at a byte of the program header."""
    return lambda data: struct.pack_into(form, data, header(data, kind) + field, value)


def swap(old: bytes, new: bytes) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        assert data.count(old) == 1, old
        at = data.index(old)
        data[at : at + len(old)] = new

    return change


def tag(old: int, new: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        (start,) = struct.unpack_from("<Q", data, header(data, elf.DYNAMIC) + 8)
        while struct.unpack_from("<q", data, start)[0] != old:
            start += 16
        struct.pack_into("<q", data, start, new)

    return change


def both_hashes(data: bytearray) -> None:
    tag(elf.HASH, UNKNOWN_TAG)(data)
    tag(elf.GNU_HASH, UNKNOWN_TAG)(data)


def test_what_zig_builds(runner: Path) -> None:
    elf.check_program(runner, ALLOWED, "")
    assert runner.stat().st_size < LARGEST
    assert list(runner.parent.iterdir()) == [runner]
    read = elf.Elf(runner.read_bytes())
    assert read.api_level == 26 and {"libc.so", "libdl.so"} <= set(read.needed)
    assert {"__libc_init", "dlopen", "mmap"} <= set(read.imports)


@pytest.mark.parametrize(
    "change, rule",
    [
        (lambda data: struct.pack_into("<H", data, 18, 62), "for machine 62"),
        (lambda data: struct.pack_into("<H", data, 16, 2), "position-independent"),
        (swap(b"/system/bin/linker64", b"/system/bin/linker\0\0"), "its linker is"),
        (put("<I", elf.NOTE, 0, elf.TLS), "thread-local"),
        (put("<I", elf.LOAD, 4, 7), "writable and executable"),
        (put("<Q", elf.LOAD, 48, 4096), "aligned to 4096"),
        (put("<I", elf.GNU_STACK, 4, 7), "stack is executable"),
        (swap(b"\0libdl.so\0", b"\0libxx.so\0"), "needs libxx.so"),
        (swap(b"\0dlsym\0", b"\0dlsyn\0"), "imports dlsyn"),
        (swap(b"Android\0\x1a", b"Android\0\x1d"), "API level 29"),
        (swap(b"Android\0\x1a", b"android\0\x1a"), "no note"),
        (tag(DEBUG, elf.TEXTREL), "relocations"),
        (tag(DEBUG, elf.RUNPATH), "search path"),
        (both_hashes, "no hash table"),
        (tag(elf.STRTAB, UNKNOWN_TAG), "damaged"),
    ],
)
def test_rules(
    data: bytearray, tmp_path: Path, change: Callable[[bytearray], None], rule: str
) -> None:
    change(data)
    (tmp_path / "program").write_bytes(data)
    with pytest.raises(PocketError) as error:
        elf.check_program(tmp_path / "program", ALLOWED, "a hint")
    assert rule in error.value.because and error.value.hint == "a hint"


def test_damaged_files_are_refused_or_read(data: bytearray, tmp_path: Path) -> None:
    program = tmp_path / "program"
    choose = random.Random(5)
    ends = [0, 3, 20, 63, 64, 200, 700, 2000, 5000, len(data) // 2]
    for end in ends:
        program.write_bytes(data[:end])
        with pytest.raises(PocketError, match="no program for arm64"):
            elf.check_program(program, ALLOWED, "")
    for _ in range(500):
        changed = bytearray(data)
        for _ in range(4):
            changed[choose.randrange(0x1500)] = choose.randrange(256)
        program.write_bytes(changed)
        try:
            elf.check_program(program, ALLOWED, "")
        except PocketError as error:
            assert error.because


def test_a_runner_that_the_user_names(
    runner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(runner))
    assert build_android_runner() == runner
    (tmp_path / "text").write_text("#!/bin/sh\n")
    (tmp_path / "text").chmod(0o755)
    for name, because in (("text", "not a 64-bit ELF file"), ("absent", "which is no program")):
        monkeypatch.setenv(VARIABLE, str(tmp_path / name))
        with pytest.raises(PocketError) as error:
            build_android_runner()
        assert because in error.value.because and VARIABLE in error.value.hint
    monkeypatch.setenv(VARIABLE, str(tmp_path / "text"))
    assert build_android_runner("x86_64") == tmp_path / "text"  # an emulator's own
