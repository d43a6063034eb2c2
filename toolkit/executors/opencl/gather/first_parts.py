"""First parts of missing records: read and computed before a gather decides on the rest.

The runner's is android_runner/gather/first_parts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from toolkit.executors.opencl.gather.flash_files import Piece, records_in
from toolkit.executors.opencl.gather.gather_memory import GatherMemory
from toolkit.executors.opencl.gather.record_reads import RecordReads
from toolkit.offload.counts import Counts
from toolkit.offload.machine import Glimpse, Machine
from toolkit.offload.selection import select
from toolkit.plan.arena import round_up
from toolkit.plan.schema import PAGE, First, Ref, Table

Ints = npt.NDArray[np.int64]
Look = Callable[[Ref, int], npt.NDArray[Any]]


class FirstParts:
    """Of the gather under way."""

    def __init__(
        self, tables: Sequence[Table], machine: Machine, memory: GatherMemory, reads: RecordReads
    ) -> None:
        self._tables, self._machine, self._memory, self._reads = tables, machine, memory, reads
        self._seen: list[Piece] = []

    def stage(self, table: int, glimpse: Glimpse) -> None:
        """Read them into staging, and write the ticket of a launch over them."""
        records, its = glimpse.records, self._tables[table]
        self._seen = self._reads.read(table, glimpse.runs.spans)
        pages = self.nbytes(table, glimpse)
        self._reads.counts += Counts(used_bytes=len(records) * pages)
        rows = np.zeros((len(records), its.bytes), np.uint8)
        rows[:, :pages] = records_in(self._seen, its, records, end=pages)
        slots = np.arange(len(records))
        self._memory.place(self._memory.staging, rows, slots)
        self._memory.write_ticket(slots, self._machine.indices(table, records), True)

    def left(self, first: First, table: int, glimpse: Glimpse, look: Look) -> Ints:
        """Records of which nothing more is needed, by what has been computed of them."""
        assert first.select.source is not None
        count = self._tables[table].count
        values = look(first.select.source, count)
        chosen = np.zeros(count, bool)
        chosen[select(first.select, values, count, np.zeros(0, bool))] = True
        left = glimpse.records[~chosen[self._machine.indices(table, glimpse.records)]]
        self._reads.counts += Counts(left=len(left), spared_bytes=len(left) * glimpse.spared)
        return left

    def complete(
        self, memory: cl.Buffer, table: int, rest: list[Piece], records: Ints, slots: Ints, at: int
    ) -> None:
        """Whole records into their slots: the first `at` bytes as staged, and the rest as read."""
        its, order = self._tables[table], np.argsort(slots)
        parts = (self._seen, 0, at), (rest, at, None)
        rows = [records_in(of, its, records[order], *span) for of, *span in parts]
        self._memory.place(memory, np.concatenate(rows, axis=1), slots[order])

    def nbytes(self, table: int, glimpse: Glimpse) -> int:
        """Bytes of a record that are read with its first part: whole pages."""
        return round_up(self._tables[table].bytes, PAGE) - glimpse.spared
