"""Which records were in memory when a run of a plan ended, kept from one start to the next.

It is a hint, and decides no answer: a file that is damaged, of another plan, or of more records
than this one has, is none. The runner reads and writes the same (android_runner/gather/warm_set.h).

    pocketcl warm 1
    DIGEST of the plan
    RECORD RECORD …        a line for each table: those to keep longest come first
    SHA-256 of all before
"""

import hashlib
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from toolkit.files import replacing
from toolkit.offload.policies import Ints
from toolkit.own_files import make_own_folder
from toolkit.plan.schema import Table

SEAL = 65  # hexadecimal digits and a line's end


class WarmSet:
    """Of the plan with this digest, in a folder that has a file for each; None: nothing is kept."""

    def __init__(self, folder: Path | None, digest: str, tables: Sequence[Table]) -> None:
        self._path, self._tables = folder / digest if folder else None, tables
        self._head = f"pocketcl warm 1\n{digest}\n"

    def read(self) -> list[Ints]:
        """Records of each table, those to keep longest first; no list where there is no set."""
        if self._path is None:
            return []
        most = 11 * sum(table.count + 1 for table in self._tables) + 1024  # what numbers can take
        with suppress(OSError, ValueError, OverflowError):
            status = self._path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_size <= most:
                return self._lists(self._path.read_bytes().decode("ascii"))
        return []

    def write(self, lists: Sequence[Ints]) -> None:
        """As a whole or not at all; where it can't be written, the next start is a cold one."""
        if self._path is None:
            return
        lines = [" ".join(map(str, records.tolist())) for records in lists]
        text = self._head + "".join(f"{line}\n" for line in lines)
        with suppress(OSError):
            make_own_folder(self._path.parent)
            with replacing(self._path) as file:
                file.write(f"{text}{_seal(text)}".encode())

    def _lists(self, text: str) -> list[Ints]:
        """Raises ValueError where a line holds what is no number."""
        sealed, seal = text[:-SEAL], text[-SEAL:]
        if not sealed.startswith(self._head) or seal != _seal(sealed):
            return []
        lines = sealed[len(self._head) :].split("\n")
        if len(lines) != len(self._tables) + 1 or lines[-1]:
            return []
        found = [np.array(line.split(), np.int64) for line in lines[:-1]]
        of_tables = zip(found, self._tables, strict=True)
        return found if all(_fits(records, table.count) for records, table in of_tables) else []


def _seal(text: str) -> str:
    return f"{hashlib.sha256(text.encode()).hexdigest()}\n"


def _fits(records: Ints, count: int) -> bool:
    """Each is one of a table's, and there once."""
    inside = bool(((records >= 0) & (records < count)).all())
    return inside and len(np.unique(records)) == len(records)
