"""What a test of a dispatch inside a gather is given: a ticket, and slots of made-up records.

Slots are few, and the ticket's records take turns in them: so a whole tile of records is a few runs
of numbers, which any executor makes up without reading a flash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from opencl_kernels.experts.chosen import RecordOfMatrix
from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.records.gathered import ticket_of
from opencl_kernels.records.record import Record
from toolkit.compiler.vectors.drawn import PARTS, filled
from toolkit.plan.checks.tested import most_records
from toolkit.plan.schema import Fill, Gather, Inside, Plan

SLOTS = 31  # no multiple of what kernels take at once
RECORDS = 131  # of a ticket
MISSING = 3  # of a tile, whose places are to be 0
# The least, and how many there are; of floats in 64ths. What records are multiplied with and added
# up to is to have a place in halves.
RANGES = {"codes": (0, 256), "scale": (1, 4), "numbers": (-PARTS // 2, PARTS + 1)}


AnyRecord = Record | RecordOfMatrix


def inside_of(plan: Plan, step: Gather, dispatch: int) -> Inside:
    """How a dispatch of a gather is tested."""
    most = most_records(step, plan.tables[step.table])
    records = max(1, most - MISSING) if step.tile else min(RECORDS, most)
    return Inside(dispatch, records, min(SLOTS, records))


def ticket_for(inside: Inside, count: int) -> Array:
    """Of a table of `count` records: its last ones, backwards, taking turns in the slots."""
    places = np.arange(inside.records)
    ticket = ticket_of(places % inside.slots, count - 1 - places, count, begins=True)
    ticket[4 + 2 * inside.records :] = 0
    return ticket


def record_fills(arg: int, record: AnyRecord, slots: int) -> Iterator[Fill]:
    """Of slots: the numbers of each part, by their types."""
    for name, dtype, first, count in record.fields:
        width = DTYPES[dtype].itemsize
        low, span = RANGES.get(name) or _zero_points(record)
        at, stride = first // width, record.nbytes // width
        yield Fill(arg, count, low, span, slots, stride, first=at, dtype=dtype)


def slots_from(fills: Sequence[Fill], record: AnyRecord, slots: int) -> Array:
    """What they leave in slots, u32 [slots, nbytes / 4]."""
    memory = np.zeros(slots * record.nbytes, np.uint8)
    for fill in fills:
        dtype = DTYPES[fill.dtype]
        rows = memory.view(dtype).reshape(slots, -1)
        runs = filled(fill, dtype).reshape(slots, -1)
        rows[:, fill.first : fill.first + fill.count] = runs
    return memory.view(np.uint32).reshape(slots, -1)


def tokens_range(count: int, inside: Inside) -> tuple[int, int]:
    """Of ids, about half of which the ticket has."""
    span = min(2 * inside.records, count)
    return count - span, span


def _zero_points(record: AnyRecord) -> tuple[int, int]:
    """Such as codes have; floats in 64ths, all within them."""
    codes = 2**record.stored.bits
    return (0, codes) if record.stored.zero == "u8" else (0, (codes - 1) * PARTS + 1)
