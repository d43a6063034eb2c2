"""The original model of a GGUF file, as its header names it.

Layout (ggml's docs/gguf.md, versions 2 and 3, little-endian): "GGUF", u32 version, u64 tensors,
u64 entries, then entries of {string key, u32 type, value}; a string is {u64 length, bytes}. The
entries named general.… come first.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from toolkit.foreign.hubs import repository_of

LENGTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a type
STRING, ARRAY = 8, 9
HEADER = 1 << 20  # bytes that are read; after them comes the vocabulary
SOURCES = ("source.huggingface.repository", "source.repo_url", "source.url", "repo_url")


def origin(path: Path) -> tuple[str, str]:
    """(name, repository on a hub) of the original model; empty if the header has none."""
    with path.open("rb") as file:
        facts = dict(_entries(file.read(HEADER)))
    repositories = (repository_of(facts.get(f"general.{key}", "")) for key in SOURCES)
    name = facts.get("general.name") or facts.get("general.basename") or ""
    return name[:80], next(filter(None, repositories), "")


def _entries(data: bytes) -> Iterator[tuple[str, str]]:
    """The entries that are strings, up to the first one that is cut off or unknown."""
    at, (count,) = 24, struct.unpack_from("<Q", data.ljust(24, b"\0"), 16)
    try:
        for _ in range(count):
            key, at = _string(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            if kind == STRING:
                value, at = _string(data, at + 4)
                yield key, value
            elif kind == ARRAY:
                at = _end_of_array(data, at + 4)
            else:
                at += 4 + LENGTHS[kind]
    except (struct.error, LookupError, UnicodeDecodeError):
        return  # cut off, or of a newer version: the entries so far are enough


def _string(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    if at + 8 + length > len(data):
        raise LookupError
    return data[at + 8 : at + 8 + length].decode(), at + 8 + length


def _end_of_array(data: bytes, at: int) -> int:
    kind, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if kind != STRING:
        return at + int(count) * LENGTHS[kind]
    for _ in range(count):
        _, at = _string(data, at)
    return at
