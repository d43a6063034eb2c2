"""Records of tables on their way from flash into memory, and the counts of it."""

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from toolkit.executors.opencl.gather.flash_files import FlashFiles, Piece, records_in
from toolkit.executors.opencl.gather.gather_memory import GatherMemory
from toolkit.offload.counts import Counts
from toolkit.offload.machine import Change, Machine
from toolkit.plan.schema import Table

Ints = npt.NDArray[np.int64]


class RecordReads:
    """Of a plan's tables. `counts` holds all that its gathers have done."""

    def __init__(
        self, tables: Sequence[Table], files: FlashFiles, memory: GatherMemory, machine: Machine
    ) -> None:
        self._tables, self._files, self._memory = tables, files, memory
        self._machine, self.counts = machine, Counts()

    def read(self, table: int, runs: Ints, ahead: bool = False) -> list[Piece]:
        """Runs, each an offset and a number of bytes; those read `ahead` are counted apart."""
        file, started = self._tables[table].file, time.perf_counter()
        found = [Piece(at, self._files.read(file, at, nbytes)) for at, nbytes in runs.tolist()]
        sizes = Counter(len(piece.content) for piece in found)
        nbytes, waited_s = sum(size * n for size, n in sizes.items()), time.perf_counter() - started
        if ahead:
            self.counts += Counts(ahead_reads=len(found), ahead_bytes=nbytes)
        else:
            self.counts += Counts(
                reads=len(found),
                read_bytes=nbytes,
                waited_s=waited_s,
                stalled_s=waited_s,
                read_sizes=sizes,
            )
        return found

    def place(
        self, memory: cl.Buffer, table: int, content: list[Piece], records: Ints, slots: Ints
    ) -> None:
        """Records into their slots."""
        its, order = self._tables[table], np.argsort(slots)
        self._memory.place(memory, records_in(content, its, records[order]), slots[order])

    def pin(self, changes: Sequence[Change], ahead: bool = False) -> None:
        """Read what never leaves; where that fails, what has not come is in no slot.

        ahead  at the start, a warm set too: counted apart
        """
        left = dict(enumerate(changes))
        try:
            for table, change in enumerate(changes):
                self._pin_table(table, change, ahead)
                del left[table]
        finally:
            for table, change in left.items():
                self._machine.caches[table].lose(change.admitted[:, 0])

    def _pin_table(self, table: int, opened: Change, ahead: bool) -> None:
        """A read at a time: memory has no room for all of them twice."""
        admitted, its = opened.admitted, self._tables[table]
        starts = its.offset + admitted[:, 0] * its.stride
        places = np.searchsorted(opened.runs[:, 0], starts, side="right") - 1
        for number in range(len(opened.runs)):
            content = self.read(table, opened.runs[number : number + 1], ahead)
            used = int((places == number).sum()) * its.bytes
            self.counts += Counts(used_bytes=0 if ahead else used)
            self.place(self._memory.slots[table], table, content, *admitted[places == number].T)
