"""Tests for files of other formats, mostly by their first bytes."""

from collections.abc import Callable
from typing import TypeAlias

from toolkit.foreign.kinds import Seen

Test: TypeAlias = Callable[[Seen], bool]
TORCH_MEMBERS = (b"data.pkl", b"/.format_version", b"/.data/", b"/byteorder", b"/code/")
ARCHIVES = (b"PK\3\4", b"\x1f\x8b", b"\xfd7zXZ\0", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd", b"BZh")


def is_empty(seen: Seen) -> bool:
    """Files of size 0; an unreadable file also has an empty head, but a size."""
    return seen.path.stat().st_size == 0


def starts(*marks: bytes) -> Test:
    """Files that begin with one of these."""
    return lambda seen: seen.head.startswith(marks)


def flatbuffer(mark: bytes) -> Test:
    """FlatBuffers: the offset of the root, below 65,536, then an identifier."""
    return lambda seen: seen.head[4:8] == mark and seen.head[2:4] == b"\0\0"


def called(*suffixes: str) -> Test:
    """Files whose names have one of these endings."""
    return lambda seen: seen.path.name.lower().endswith(suffixes)


def text_starts(*words: bytes) -> Test:
    """Text that begins with one of these words, in lower case."""
    return lambda seen: _text(seen).lower().startswith(words)


def is_openvino(seen: Seen) -> bool:
    """A graph in XML; its weights are in a second file."""
    return text_starts(b"<?xml", b"<net ")(seen) and b"<net " in seen.head


def is_text(seen: Seen) -> bool:
    """UTF-8 without control characters; the last character may be cut off."""
    text = seen.head.decode(errors="ignore")
    whole = len(seen.head) - len(text.encode()) < 4
    return whole and bool(text) and all(c.isprintable() or c.isspace() for c in text)


def is_safetensors(seen: Seen) -> bool:
    """The length of a JSON object, then the object."""
    return seen.head[8:9] == b"{" and 1 < int.from_bytes(seen.head[:8], "little") < 1 << 32


def is_torch(seen: Seen) -> bool:
    """A zip as torch.save and torch.jit.save write it, or a pickle."""
    zipped = seen.head.startswith(b"PK\3\4") and any(m in seen.head[:256] for m in TORCH_MEMBERS)
    return zipped or (seen.head[:1] == b"\x80" and seen.head[1:2] in (b"\2", b"\3", b"\4", b"\5"))


def is_archive(seen: Seen) -> bool:
    """Something to unpack."""
    return seen.head.startswith(ARCHIVES) or seen.head[257:262] == b"ustar"


def is_onnx(seen: Seen) -> bool:
    """Whether it begins as ONNX does: with field 1, the version of the format."""
    return seen.head[:1] == b"\x08"


def _text(seen: Seen) -> bytes:
    return seen.head.removeprefix(b"\xef\xbb\xbf").lstrip()
