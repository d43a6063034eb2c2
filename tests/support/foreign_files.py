"""Files and folders as other programs leave them, as far as they are recognised."""

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 2471645608\n"
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>"


def gguf(**facts: str) -> bytes:
    """A header: some numbers and an array, then the strings `general.NAME`."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    entries = [text("general.alignment") + struct.pack("<II", 4, 32)]
    entries += [text("general.tags") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")]
    entries += [text("general.sizes") + struct.pack("<IIQ", 9, 5, 3) + bytes(12)]
    for name, value in facts.items():
        entries.append(
            text(f"general.{name.replace('__', '.')}") + struct.pack("<I", 8) + text(value)
        )
    return b"GGUF" + struct.pack("<IQQ", 3, 7, len(entries) + 1) + b"".join(entries)


def safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


def zipped(*names: str) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return stream.getvalue()


def flatbuffer(mark: bytes) -> bytes:
    return struct.pack("<I", 28) + mark + bytes(64)


def pickled() -> bytes:
    return pickle.dumps({"weight": [1.0]}, protocol=2)


def folder(path: Path, files: Mapping[str, bytes | str]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def config(*classes: str) -> str:
    return json.dumps({"architectures": list(classes), "model_type": "some"})
