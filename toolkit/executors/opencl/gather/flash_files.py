"""The files of a plan's tables, read piece by piece and never mapped."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Plan, Table

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Piece:
    """What a read has brought."""

    offset: int  # in the file
    content: Bytes


class FlashFiles:
    """Open until `close`; `path` is the plan's folder."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._bytes = {t.file: plan.files[t.file].bytes for t in plan.tables}
        self._paths = {file: path / plan.files[file].path for file in self._bytes}
        self._open: dict[int, int] = {}
        for file, name in self._paths.items():
            try:
                self._open[file] = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                self.close()
                raise PocketError(f"cannot open {name}", error, RECOMPILE) from None

    def read(self, file: int, offset: int, nbytes: int) -> Bytes:
        """Bytes from an offset on; behind the file's end, where its last page goes on, zeros.

        Raises PocketError, which names file and offset, where it has become shorter or can't be
        read.
        """
        into, done = np.zeros(nbytes, np.uint8), 0
        end = min(nbytes, self._bytes[file] - offset)
        while done < end:
            done += self._piece(file, offset + done, into[done:end])
        return into

    def _piece(self, file: int, offset: int, into: Bytes) -> int:
        because: str | OSError = "it ends there: it has been cut since the plan was loaded"
        try:
            if read := os.preadv(self._open[file], [into.data], offset):
                return read
        except OSError as error:
            because = error
        what = f"{self._paths[file]} can't be read at byte {offset}"
        hint = (
            "see that the file is whole and its storage sound: pocketcl verify; then run it again"
        )
        raise PocketError(what, because, hint)

    def close(self) -> None:
        """Close them."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def records_in(
    content: Sequence[Piece],
    table: Table,
    records: npt.NDArray[np.int64],
    begin: int = 0,
    end: int | None = None,
) -> Bytes:
    """Bytes `begin` … `end` of records [n, end - begin]: each within one of the pieces, ascending.

    end  None: that of a record
    """
    count = (table.bytes if end is None else end) - begin
    found = np.empty((len(records), count), np.uint8)
    offsets, starts = [piece.offset for piece in content], table.offset + records * table.stride
    for row, start in zip(found, (starts + begin).tolist(), strict=True):
        at = bisect_right(offsets, start) - 1
        while start + count > offsets[at] + len(content[at].content):
            at -= 1  # that one lies within a longer one before it
        row[:] = content[at].content[start - offsets[at] :][:count]
    return found
