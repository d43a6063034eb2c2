"""Files of warm sets that are none: of the toy with two tables (flash_toy.py)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from flash_toy import F


def sealed(text: str) -> str:
    return f"{text}{hashlib.sha256(text.encode()).hexdigest()}\n"


def edited(change: Callable[[str], str]) -> Callable[[Path], None]:
    """A change of what is sealed, with a seal that is right."""
    return lambda file: file.write_text(sealed(change(file.read_text()[:-65]))) and None


def flip(file: Path) -> None:
    text = bytearray(file.read_bytes())
    text[-80] ^= 1
    file.write_bytes(text)


def with_line(number: int, text: str) -> Callable[[Path], None]:
    def change(old: str) -> str:
        lines = old.split("\n")
        lines[number] = text
        return "\n".join(lines)

    return edited(change)


def grow(file: Path) -> None:
    file.write_text(sealed(file.read_text()[:-65] + " " * 10_000))


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link(file: Path) -> None:
    file.rename(file.with_name("other"))
    file.symlink_to("other")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


SPOILED: dict[str, Callable[[Path], None]] = {
    "a bit": flip,
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: os.truncate(file, 0),
    "version": with_line(0, "pocketcl warm 2"),
    "another plan": with_line(1, "0" * 64),
    "no such record": with_line(3, f"3 {F}"),
    "negative": with_line(2, "-1"),
    "twice": with_line(2, "5 5"),
    "no number": with_line(2, "5 six"),
    "huge number": with_line(2, "9" * 40),
    "a table less": edited(lambda text: "\n".join(text.split("\n")[:-2]) + "\n"),
    "a table more": edited(lambda text: f"{text}1 2\n"),
    "too large": grow,
    "a pipe": pipe,
    "a link": link,
    "a folder": folder,
}
