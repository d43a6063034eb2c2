"""A plan's files that change, and a process that pushes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from toolkit.phone.adb import find_phone
from toolkit.phone.store import Item, Store, Transfer, file_item

MiB = 2**20


class Files:
    """A folder of files that a test writes and pushes as one tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("plan.json", b"{}")
        self.write("kernels/a.cl", b"kernel a")
        self.write("kernels/b.cl", b"kernel b")
        self.write("weights.0.bin", b"w" + os.urandom(3 * MiB - 1))  # tests spoil the first byte
        self.write("weights.1.bin", b"w" + os.urandom(2 * MiB - 1))

    def write(self, path: str, data: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def items(self) -> list[Item]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [file_item(str(path.relative_to(self.folder)), path) for path in paths]

    def bytes(self, *names: str) -> int:
        return sum(item.bytes for item in self.items() if not names or item.path in names)


@dataclass
class Pushed:
    tree: str
    transfer: Transfer


def push(files: Files) -> Pushed:
    """What a new process does."""
    store = Store(find_phone())
    return Pushed(store.install("plans", files.items()), store.transfer)
