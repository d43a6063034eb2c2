"""Copy files to a phone: only what is missing, verified, resuming after a broken connection."""

import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import PocketError
from toolkit.paths import cache_dir
from toolkit.phone.adb import Gone, Phone
from toolkit.phone.layout import ACCEPT, HOME, LINK, MiB, Survey, survey
from toolkit.progress import PROGRESS

BATCH_FILES, BATCH_BYTES = 64, 16 * 2**20  # pushed and checked together
MARGIN = 64 * 2**20  # bytes of storage to leave free


@dataclass(frozen=True)
class Item:
    """A file of a tree: its path in the tree, its contents here."""

    path: str
    source: Path
    sha256: str
    bytes: int


@dataclass
class Transfer:
    """What was copied, and how long it took."""

    pushed_bytes: int = 0
    pushed_files: int = 0
    skipped_files: int = 0
    push_s: float = 0.0


class Store:
    """The folder of PocketCL on a phone."""

    def __init__(self, phone: Phone) -> None:
        self.phone, self.transfer = phone, Transfer()
        self._found: Survey | None = None

    def survey(self) -> Survey:
        """The state of the folder; read once."""
        if self._found is None:
            with only_one(self.phone):  # it would remove files that another process is copying
                self._found = survey(self.phone)
        return self._found

    def missing(self, items: Sequence[Item]) -> list[Item]:
        """The items whose contents are not on the phone; equal contents once."""
        blobs = self.survey().blobs
        found = {item.sha256: item for item in items if blobs.get(item.sha256) != item.bytes}
        return list(found.values())

    def check_space(self, items: Sequence[Item]) -> None:
        """Raise unless the missing contents fit into the phone's storage."""
        need, free = sum(item.bytes for item in self.missing(items)), self.survey().free
        if need and need + MARGIN > free:
            because = f"{need / MiB:,.0f} MiB are to be copied, {free / MiB:,.0f} MiB are free"
            hint = "run pocketcl phone clean, or free storage on the phone"
            raise PocketError(f"{self.phone.model} has too little storage", because, hint)

    def install(self, kind: str, items: Sequence[Item]) -> str:
        """Copy a tree of this kind ("plans", "bin") to the phone; return its path below HOME."""
        started, tree = time.perf_counter(), f"{kind}/{_tree_hash(items)}"
        missing = self.missing(items)
        self.check_space(items)
        if missing or tree not in self.survey().trees:
            with only_one(self.phone):
                self._push(missing)
                self._link(tree, items)
        self.transfer.skipped_files += len(items) - len(missing)
        self.transfer.push_s += time.perf_counter() - started
        return tree

    def _push(self, items: Sequence[Item]) -> None:
        total, done = sum(item.bytes for item in items), 0
        for batch in _batches(items):
            with _staged(batch) as sources, self._shown(batch, done, total):
                try:
                    self.phone.push(sources, f"{HOME}/incoming/")
                except Gone as error:
                    because = f"{done / MiB:,.1f} of {total / MiB:,.1f} MiB had arrived"
                    what = f"{error.what} while {batch[0].path} was copied to it"
                    raise Gone(what, f"{because}; {error.because}", error.hint) from None
            self._accept(batch)
            done += sum(item.bytes for item in batch)
        PROGRESS("")

    def _accept(self, batch: Sequence[Item]) -> None:
        names = " ".join(item.sha256 for item in batch)
        good = self.phone.shell(f"names='{names}'\n{ACCEPT}", timeout=600).split()
        for item in batch:
            if item.sha256 not in good:
                raise _damaged(self.phone, item)
            self.survey().blobs[item.sha256] = item.bytes
            self.transfer.pushed_bytes += item.bytes
            self.transfer.pushed_files += 1

    def _link(self, tree: str, items: Sequence[Item]) -> None:
        lines = [f"{i.sha256} {'../' * (2 + i.path.count('/'))} {i.path}\n" for i in items]
        self.phone.shell(f"tree={tree}\n{LINK}", text="".join(lines))
        self.survey().trees.add(tree)

    @contextmanager
    def _shown(self, batch: Sequence[Item], done: int, total: int) -> Iterator[None]:
        """Show the progress of a push; for a large file, ask the phone for its size."""
        name = f"{self.phone.model}: {batch[0].path}"
        PROGRESS(name, done, total)
        if not PROGRESS.visible() or sum(item.bytes for item in batch) < BATCH_BYTES:
            yield
            return
        over = threading.Event()

        def watch() -> None:
            command = f"cd {HOME}/incoming && stat -c %s *"
            while not over.wait(1.0):
                sizes = self.phone.run(command).out.split()
                if not over.is_set():
                    PROGRESS(name, done + sum(int(s) for s in sizes if s.isdigit()), total)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=2)


def file_item(path: str, source: Path) -> Item:
    """An item for a file; reads and hashes it."""
    with source.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return Item(path, source, found, source.stat().st_size)


def _tree_hash(items: Sequence[Item]) -> str:
    lines = sorted(f"{item.sha256} {item.path}\n" for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:24]


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items of each push: a large file alone, small ones together."""
    batch: list[Item] = []
    for item in items:
        size = sum(each.bytes for each in batch)
        if batch and (len(batch) == BATCH_FILES or size + item.bytes > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


@contextmanager
def _staged(items: Sequence[Item]) -> Iterator[list[Path]]:
    """Links to the files, with the names that they get on the phone."""
    with tempfile.TemporaryDirectory(prefix="pocketcl-") as folder:
        links = [Path(folder, item.sha256) for item in items]
        for link, item in zip(links, items, strict=True):
            link.symlink_to(item.source.absolute())
        yield links


def _damaged(phone: Phone, item: Item) -> PocketError:
    """The error for a wrong hash on the phone: the file here is damaged, or the copy is."""
    if file_item(item.path, item.source).sha256 != item.sha256:
        because = "its SHA-256 is not the one that the plan lists"
        hint = "compile the model again: pocketcl compile SRC -o PLAN"
        return PocketError(f"{item.source} is damaged", because, hint)
    what = f"{item.path} arrived damaged on {phone.model}"
    hint = "try again with another cable or port"
    return PocketError(what, "the phone computes another SHA-256", hint)


@contextmanager
def only_one(phone: Phone) -> Iterator[None]:
    """Block while another process of this computer copies to the phone."""
    name = "".join(c if c.isalnum() else "-" for c in phone.serial)
    lock = os.open(cache_dir() / f"phone-{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            PROGRESS(f"waiting for another pocketcl that copies to {phone.model}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
