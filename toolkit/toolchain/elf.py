"""Check that an ELF file is a program that arm64 Android loads: the rules, and a reader for them.

Like the dynamic linker, the reader uses the program headers and the dynamic section (a stripped
file may have no sections). It checks every number in the file, which may be damaged.
"""

import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from toolkit.errors import PocketError

ARM64, POSITION_INDEPENDENT = 183, 3  # EM_AARCH64, ET_DYN
LOAD, DYNAMIC, INTERP, NOTE, TLS, GNU_STACK = 1, 2, 3, 4, 7, 0x6474E551
EXECUTABLE, WRITABLE = 1, 2
NEEDED, HASH, STRTAB, SYMTAB, TEXTREL, RPATH, RUNPATH = 1, 4, 5, 6, 22, 15, 29
FLAGS, GNU_HASH, HAS_TEXTREL = 30, 0x6FFFFEF5, 4
SYMBOL_BYTES, MOST_SYMBOLS = 24, 1 << 20

INTERPRETER, PAGE, API_LEVEL = "/system/bin/linker64", 16384, 26
LIBRARIES = frozenset({"libc.so", "libm.so", "libdl.so", "liblog.so"})


class Segment(NamedTuple):
    """A program header, its fields in the file's order."""

    type: int
    flags: int
    offset: int
    address: int
    physical: int
    bytes: int
    memory: int
    align: int


class Elf:
    """A 64-bit little-endian ELF file as the linker reads it; raises ValueError if damaged."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError("it is not a 64-bit ELF file")
        self.type, self.machine = struct.unpack("<HH", self._bytes(16, 4))
        (table,) = struct.unpack("<Q", self._bytes(32, 8))
        size, count = struct.unpack("<HH", self._bytes(54, 4))
        if size != struct.calcsize("<IIQQQQQQ"):
            raise ValueError("it is damaged: its program headers have another size")
        headers = struct.iter_unpack("<IIQQQQQQ", self._bytes(table, size * count))
        self.segments = [Segment(*header) for header in headers]

    def of(self, *types: int) -> list[Segment]:
        """The segments of these types."""
        return [segment for segment in self.segments if segment.type in types]

    def _bytes(self, offset: int, size: int) -> bytes:
        if offset + size > len(self._data):
            raise ValueError("it is damaged: it ends too early")
        return self._data[offset : offset + size]

    def _content(self, segment: Segment) -> bytes:
        return self._bytes(segment.offset, segment.bytes)

    def _offset(self, address: int) -> int:
        for segment in self.of(LOAD):
            if segment.address <= address < segment.address + segment.bytes:
                return address - segment.address + segment.offset
        raise ValueError("it is damaged: a table lies outside of what is loaded")

    @cached_property
    def dynamic(self) -> list[tuple[int, int]]:
        """Tags and values of the dynamic section."""
        found = []
        for segment in self.of(DYNAMIC):
            content = self._content(segment)
            for tag, value in struct.iter_unpack("<qQ", content[: len(content) // 16 * 16]):
                if tag == 0:
                    break
                found.append((tag, value))
        return found

    def _tag(self, wanted: int) -> int:
        for tag, value in self.dynamic:
            if tag == wanted:
                return value
        raise ValueError(f"it is damaged: its dynamic section has no tag {wanted}")

    def _name(self, index: int) -> str:
        start = self._offset(self._tag(STRTAB)) + index
        end = self._data.find(b"\0", start)
        if end < 0:
            raise ValueError("it is damaged: a name has no end")
        return self._data[start:end].decode("ascii", "backslashreplace")

    @cached_property
    def interpreter(self) -> str:
        """The path of the linker that loads it; empty if it names none."""
        found = [self._content(segment) for segment in self.of(INTERP)]
        return found[0].rstrip(b"\0").decode("ascii", "backslashreplace") if found else ""

    @cached_property
    def needed(self) -> list[str]:
        """The libraries that it is linked to."""
        return [self._name(value) for tag, value in self.dynamic if tag == NEEDED]

    @cached_property
    def imports(self) -> list[str]:
        """The symbols that these libraries must define."""
        start, count = self._offset(self._tag(SYMTAB)), self._symbols()
        table = self._bytes(start, SYMBOL_BYTES * count)
        symbols = struct.iter_unpack("<IBBHQQ", table)
        return [self._name(name) for name, _, _, section, _, _ in symbols if name and not section]

    def _symbols(self) -> int:
        """How many symbols may be imports: all, or those before the first in the hash table."""
        tags = dict(self.dynamic)
        address = tags[HASH] if HASH in tags else self._tag(GNU_HASH)
        (count,) = struct.unpack("<4xI", self._bytes(self._offset(address), 8))
        if count > MOST_SYMBOLS:
            raise ValueError("it is damaged: too many symbols")
        return int(count)

    @cached_property
    def api_level(self) -> int | None:
        """The API level of its Android note; None if it has no note."""
        for segment in self.of(NOTE):
            content = self._content(segment)
            at = 0
            while at + 24 <= len(content):
                name, value, kind = struct.unpack_from("<III", content, at)
                if kind == 1 and content[at + 12 : at + 20] == b"Android\0":
                    return int(struct.unpack_from("<I", content, at + 20)[0])
                at += 12 + (name + 3) // 4 * 4 + (value + 3) // 4 * 4
        return None


def faults(elf: Elf, symbols: frozenset[str] | None = None) -> Iterator[str]:
    """The rules that `elf` breaks; it may import only `symbols`, or any if that is None."""
    if elf.machine != ARM64:
        yield f"it is for machine {elf.machine} of the ELF standard, arm64 is {ARM64}"
    if elf.type != POSITION_INDEPENDENT or not elf.interpreter:
        yield "it is not a position-independent program (PIE)"
    elif elf.interpreter != INTERPRETER:
        yield f"its linker is {elf.interpreter}, Android's is {INTERPRETER}"
    yield from _segment_faults(elf)
    yield from _dynamic_faults(elf, symbols)
    if elf.api_level is None:
        yield "it has no note with its API level"
    elif elf.api_level > API_LEVEL:
        yield f"it is for API level {elf.api_level}, phones from {API_LEVEL} on should run it"


def _segment_faults(elf: Elf) -> Iterator[str]:
    if elf.of(TLS):
        yield "it has thread-local storage, which Android 8 and 9 can't load"
    for segment in elf.of(LOAD):
        if segment.align < PAGE or (segment.address - segment.offset) % PAGE:
            yield f"a segment is aligned to {segment.align} bytes, pages may have {PAGE}"
        if segment.flags & WRITABLE and segment.flags & EXECUTABLE:
            yield "a segment is writable and executable"
    if not elf.of(GNU_STACK) or any(s.flags & EXECUTABLE for s in elf.of(GNU_STACK)):
        yield "its stack is executable"


def _dynamic_faults(elf: Elf, symbols: frozenset[str] | None) -> Iterator[str]:
    tags = dict(elf.dynamic)
    if TEXTREL in tags or tags.get(FLAGS, 0) & HAS_TEXTREL:
        yield "its code has relocations"
    if RPATH in tags or RUNPATH in tags:
        yield "it brings a search path for libraries (RPATH)"
    if foreign := [name for name in elf.needed if name not in LIBRARIES]:
        yield f"it needs {', '.join(foreign)}, which phones don't have for programs"
    if HASH not in tags and GNU_HASH not in tags:
        yield "it has no hash table of symbols"
    elif symbols is not None and (alien := [n for n in elf.imports if n not in symbols]):
        yield f"it imports {', '.join(alien[:5])}, which bionic/symbols.txt doesn't list"


def check_program(path: Path, symbols: frozenset[str] | None, hint: str) -> None:
    """Raise PocketError, with the broken rules, unless phones load the program."""
    what = f"{path} is no program for arm64 Android"
    try:
        broken = list(faults(Elf(path.read_bytes()), symbols))
    except (OSError, ValueError) as error:
        because = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise PocketError(what, because, hint) from None
    if broken:
        raise PocketError(what, "\n".join(broken), hint)
