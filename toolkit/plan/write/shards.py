"""The large files of a plan: weights, and tables of records, written and hashed piece by piece.

What they hold is made when its turn comes, so that a large model needs little memory.
"""

import dataclasses
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.plan.arena import round_up
from toolkit.plan.schema import PAGE, WEIGHT_ALIGN, FileEntry, Table, Weight

SHARD_BYTES = 256 * 2**20
PIECE = 2**20  # bytes that are read again at a time
Order: TypeAlias = npt.NDArray[np.integer[Any]]
Progress = Callable[[str, int, int], None]  # what is being written, bytes done, bytes in all


@dataclass(frozen=True)
class WeightSource:
    """A packed weight that is made when its turn comes; `produce` yields it in pieces, in order."""

    name: str
    dtype: str
    layout: str
    shape: tuple[int, ...]
    nbytes: int
    produce: Callable[[], Iterable[npt.NDArray[np.generic]]]


@dataclass(frozen=True)
class TableSource:
    """A table, without its file and place; `produce` yields some records at a time, by index.

    Each yields uint32 [records, bytes / 4].

    order  the index of each record, a permutation; None: its own number
    """

    table: Table
    produce: Callable[[], Iterable[npt.NDArray[np.generic]]]
    order: Order | None = None


# --- weights -----------------------------------------------------------------------------------


def laid_out(sources: Sequence[WeightSource]) -> list[Weight]:
    """File and offset of every weight: in order, aligned, no file above SHARD_BYTES."""
    weights, file, end = list[Weight](), 0, 0
    for s in sources:
        if s.nbytes > SHARD_BYTES:
            raise PocketError(
                f"weight {s.name} has {s.nbytes} bytes",
                f"a weights file holds at most {SHARD_BYTES}; larger tensors are split by rows",
            )
        offset = round_up(end, WEIGHT_ALIGN)
        if offset + s.nbytes > SHARD_BYTES:
            file, offset = file + 1, 0
        weights.append(Weight(s.name, s.dtype, s.layout, s.shape, file, offset, s.nbytes))
        end = offset + s.nbytes
    return weights


def write_shards(
    folder: Path,
    weights: Sequence[Weight],
    sources: Sequence[WeightSource],
    progress: Progress | None,
) -> list[FileEntry]:
    """The files of weights; weight i comes from sources[i]."""
    shards, done, total = list[FileEntry](), 0, sum(w.bytes for w in weights)
    for number in sorted({w.file for w in weights}):
        with HashedFile(folder, f"weights.{number}.bin") as out:
            for weight, source in zip(weights, sources, strict=True):
                if weight.file == number:
                    out.pad_to(weight.offset)
                    _write_weight(out, source)
                    done += weight.bytes
                    if progress:
                        progress(weight.name, done, total)
            out.pad_to(round_up(out.bytes, WEIGHT_ALIGN))  # whole pages: some drivers need them
        shards.append(out.entry())
    return shards


def _write_weight(out: "HashedFile", source: WeightSource) -> None:
    start = out.bytes
    for piece in source.produce():
        little = piece.astype(piece.dtype.newbyteorder("<"), copy=False)
        out.write(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
    if out.bytes - start != source.nbytes:
        raise PocketError(
            f"weight {source.name} came as {out.bytes - start} bytes",
            f"{source.nbytes} were announced: a fault of the compiler",
        )


# --- tables ------------------------------------------------------------------------------------


def shard_count(weights: Sequence[Weight]) -> int:
    """How many files weights lie in: they come first in a plan."""
    return len({w.file for w in weights})


def tables_laid_out(sources: Sequence[TableSource], first: int) -> list[Table]:
    """File and offset of every table, in files from number `first` on.

    A table lies in one file; a file of several is no larger than SHARD_BYTES.
    """
    found, file, end = list[Table](), first, 0
    for table in (source.table for source in sources):
        size = table.count * table.stride
        if end and end + size > SHARD_BYTES:
            file, end = file + 1, 0
        found.append(dataclasses.replace(table, file=file, offset=end))
        end = round_up(end + size, PAGE)
    return found


def write_tables(
    folder: Path,
    tables: Sequence[Table],
    sources: Sequence[TableSource],
    progress: Progress | None,
) -> list[FileEntry]:
    """The files of tables; table i comes from sources[i]."""
    entries, done, total = list[FileEntry](), 0, sum(t.count * t.stride for t in tables)
    for i, number in enumerate(sorted({t.file for t in tables})):
        with HashedFile(folder, f"flash.{i}.bin") as out:
            for table, source in zip(tables, sources, strict=True):
                if table.file == number:
                    out.pad_to(table.offset)
                    _write_table(out, table, source)
                    done += table.count * table.stride
                    if progress:
                        progress(table.name, done, total)
            out.pad_to(round_up(out.bytes, PAGE))  # reads past the page cache take whole ones
        entries.append(out.entry())
    return entries


def _write_table(out: "HashedFile", table: Table, source: TableSource) -> None:
    """Records, each with what is between it and the next, at the places that the order says."""
    start, count, stride = out.bytes, 0, table.stride
    places = None if source.order is None else np.argsort(source.order) * stride
    for records in source.produce():
        apart = np.zeros((len(records), stride), np.uint8)
        little = np.ascontiguousarray(records.astype("<u4", copy=False))
        apart[:, : table.bytes] = little.view(np.uint8)
        if places is None:
            out.write(apart.reshape(-1).data)
        else:
            for place, record in zip(places[count:], apart, strict=False):
                out.put(start + int(place), record.data)
        count += len(records)
    if count != table.count:
        because = f"{table.count} were announced: a fault of the compiler"
        raise PocketError(f"table {table.name} came as {count} records", because)
    out.take_up_to(start + count * stride)


# --- files -----------------------------------------------------------------------------------


class HashedFile:
    """A new file of the plan that is hashed while it is written and safe on disk when closed."""

    def __init__(self, folder: Path, path: str) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.bytes, self.sha = path, 0, hashlib.sha256()
        self.file = target.open("x+b")

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.file:
            if error is None:
                self.file.flush()
                os.fsync(self.file.fileno())

    def write(self, data: bytes | memoryview) -> None:
        """Go on with these bytes."""
        self.file.write(data)
        self.sha.update(data)
        self.bytes += len(data)

    def put(self, offset: int, data: memoryview) -> None:
        """Bytes behind those so far, where they belong once all before them are there."""
        self.file.seek(offset)
        self.file.write(data)

    def take_up_to(self, end: int) -> None:
        """Hash what has been put up to here, and go on behind it."""
        self.file.seek(self.bytes)
        while self.bytes < end:
            piece = self.file.read(min(end - self.bytes, PIECE))
            if not piece:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self.path)
            self.sha.update(piece)
            self.bytes += len(piece)
        self.file.seek(end)

    def pad_to(self, offset: int) -> None:
        """Zeros up to here."""
        self.write(bytes(offset - self.bytes))

    def entry(self) -> FileEntry:
        """As the plan lists it."""
        return FileEntry(self.path, self.bytes, self.sha.hexdigest())
