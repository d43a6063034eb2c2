"""Kinds of files and folders that are given instead of an ONNX model, each with what to do.

Each kind is a row of a table (`files.py`, `folders.py`): what it is, how it is recognised, why
PocketCL can't read it, and what to do. Files are recognised by their content, or by their name if
the format has no magic number.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any

from toolkit.errors import PocketError

HEAD = 4096  # bytes of a file that are read to recognise it


@dataclass(frozen=True)
class Seen:
    """The facts of a file or folder by which its kind is recognised."""

    path: Path

    @cached_property
    def head(self) -> bytes:
        """The first bytes of a file; empty if it can't be read."""
        try:
            with self.path.open("rb") as file:
                return file.read(HEAD)
        except OSError:
            return b""

    @cached_property
    def names(self) -> frozenset[str]:
        """The names in a folder."""
        return frozenset(entry.name for entry in self.path.iterdir())

    def ending(self, *suffixes: str) -> list[Path]:
        """The paths in a folder with one of these endings, sorted."""
        return [self.path / name for name in sorted(self.names) if name.lower().endswith(suffixes)]

    def settings(self, name: str) -> dict[str, Any]:
        """The object in a JSON file of a folder; empty if there is none."""
        try:
            body = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}


Words = str | Callable[[Seen], str]


@dataclass(frozen=True)
class Kind:
    """A kind of path that is no ONNX model; `what` completes "X is …"."""

    what: str
    fits: Callable[[Seen], bool]
    because: Words
    hint: Words

    def error(self, seen: Seen) -> PocketError:
        """The error for a path of this kind."""
        words = [
            text if isinstance(text, str) else text(seen) for text in (self.because, self.hint)
        ]
        return PocketError(f"{seen.path} is {self.what}", *words)


def is_pointer(seen: Seen) -> bool:
    """Whether it is what git leaves in place of a large file until it is pulled."""
    return seen.head.startswith(b"version https://git-lfs")


POINTER = Kind(
    "a Git LFS pointer, not the file itself",
    is_pointer,
    "git copied a pointer of three lines; the file is still on the server",
    lambda seen: pull(seen.path.parent),
)


def pull(folder: Path) -> str:
    """The command that fetches what git left on the server."""
    return f"git -C {quote(str(folder))} lfs pull (with git-lfs installed), or download the file"


def refuse(path: Path, kinds: Iterable[Kind] = (POINTER,)) -> None:
    """Raise if this is one of these kinds."""
    seen = Seen(path)
    for kind in kinds:
        if kind.fits(seen):
            raise kind.error(seen)
