"""Missing records of a launch into their slots, from wherever their bytes have been read to."""

from collections.abc import Sequence

import numpy as np
import pyopencl as cl

from toolkit.executors.opencl.gather.first_parts import FirstParts
from toolkit.executors.opencl.gather.flash_files import Piece
from toolkit.executors.opencl.gather.read_ahead import ReadAhead
from toolkit.executors.opencl.gather.record_reads import RecordReads
from toolkit.offload.clusters import Launch
from toolkit.offload.counts import Counts
from toolkit.offload.machine import Outcome
from toolkit.offload.record_cache import NONE
from toolkit.plan.schema import Table


class Filling:
    """Of a plan's tables."""

    def __init__(
        self, tables: Sequence[Table], reads: RecordReads, early: ReadAhead, first: FirstParts
    ) -> None:
        self._tables, self._reads, self._early, self._first = tables, reads, early, first

    def fill(
        self, slots: cl.Buffer, table: int, launch: Launch, content: list[Piece], done: Outcome
    ) -> None:
        """With what has been read now, and with those that were read ahead, or in part before."""
        its, records = self._tables[table], launch.records
        early = np.isin(records, done.ahead)
        pages = 0 if done.glimpse is None else self._first.nbytes(table, done.glimpse)
        begun = np.isin(records, NONE if done.glimpse is None else done.glimpse.records)
        used = len(records) * its.bytes - int(begun.sum()) * pages
        self._reads.counts += Counts(used_bytes=used)
        there = self._early.there.get(table, [])
        for pieces, own in ((content, ~early & ~begun), (there, early)):
            if own.any():
                self._reads.place(slots, table, pieces, records[own], launch.slots[own])
        if begun.any():
            some, places = records[begun], launch.slots[begun]
            self._first.complete(slots, table, content, some, places, pages)
