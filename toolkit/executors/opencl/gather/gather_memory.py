"""The memory that gathers work with: slots of each table, streamed records, a ticket."""

from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from opencl_kernels.records.gathered import HEAD
from toolkit.executors.opencl.errors import opencl_errors
from toolkit.offload.record_cache import Resize
from toolkit.plan.schema import Plan, Point
from toolkit.plan.table_figures import launch_bytes, most_records

FLAGS = cl.mem_flags
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class GatherMemory:
    """As a point has it, until another one comes; `release` gives it back."""

    def __init__(self, plan: Plan, point: Point, queue: cl.CommandQueue) -> None:
        """Allocate all of it, or raise PocketError."""
        self._plan, self._queue = plan, queue
        self.slots: list[cl.Buffer] = []
        with ExitStack() as closing:
            closing.callback(self._release_slots)
            for table, count in zip(plan.tables, point.slots, strict=True):
                self.slots.append(self._buffer("slots", count * table.bytes))
            self.staging = self._buffer("streamed records", _staged(plan, point))
            closing.callback(self.staging.release)
            self.ticket = self._buffer("the ticket", 4 * (HEAD + 2 * most_records(plan)))
            closing.pop_all()

    def resize(self, table: int, count: int, moves: Resize, slot_of: Ints) -> None:
        """So many slots of a table, with what stays of the others in theirs.

        slot_of  where each record was
        """
        nbytes, old = self._plan.tables[table].bytes, self.slots[table]
        with opencl_errors("cannot move records"):
            for record, slot in moves.moved.tolist():
                row = np.empty(nbytes, np.uint8)
                cl.enqueue_copy(self._queue, row, old, src_offset=int(slot_of[record]) * nbytes)
                cl.enqueue_copy(self._queue, old, row, dst_offset=slot * nbytes)
            if count * nbytes == old.size:
                return
            new = self._buffer("slots", count * nbytes)
            kept = min(old.size, new.size)
            cl.enqueue_copy(self._queue, new, old, byte_count=kept)
            self._queue.finish()
        self.slots[table] = new
        old.release()

    def place(self, into: cl.Buffer, rows: Bytes, slots: Ints) -> None:
        """Records, a row each, into slots that ascend; neighbours in one copy."""
        ends = np.flatnonzero(np.diff(slots) != 1) + 1
        with opencl_errors("cannot write records to the device"):
            for first, some in zip([0, *ends], np.split(rows, ends), strict=True):
                offset = int(slots[first]) * rows.shape[1]
                cl.enqueue_copy(self._queue, into, some, dst_offset=offset)

    def write_ticket(self, slots: Ints, indices: Ints, begins: bool) -> None:
        """Of a launch: where its records lie, and which neurons, or rows, they are."""
        pairs = np.stack([slots, indices], axis=1).reshape(-1)
        words = np.concatenate([[len(slots), begins, 0, 0], pairs]).astype(np.int32)
        with opencl_errors("cannot write a ticket to the device"):
            cl.enqueue_copy(self._queue, self.ticket, words)

    def restage(self, point: Point) -> None:
        """Room for what this point streams."""
        if max(4, _staged(self._plan, point)) != self.staging.size:
            old = self.staging
            self.staging = self._buffer("streamed records", _staged(self._plan, point))
            old.release()

    def release(self) -> None:
        """Give it back; all of it, whatever fails."""
        with ExitStack() as closing:
            closing.callback(self._release_slots)
            closing.callback(self.staging.release)
            closing.callback(self.ticket.release)

    def _release_slots(self) -> None:
        with ExitStack() as closing:
            for buffer in self.slots:
                closing.callback(buffer.release)

    def _buffer(self, name: str, nbytes: int) -> cl.Buffer:
        with opencl_errors(f"cannot allocate {nbytes} bytes for {name}"):
            return cl.Buffer(self._queue.context, FLAGS.READ_WRITE, max(4, nbytes))


def _staged(plan: Plan, point: Point) -> int:
    """Bytes of the records that a launch looks at, at most."""
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    return max(launch_bytes(plan, gather, point) for gather in gathers)
