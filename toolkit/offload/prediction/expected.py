"""What a token will read of a table, expected from how often each of its records is selected.

Records are taken to be selected independently of each other. The first ones are resident; the
others are missed where they are selected, and misses that lie near each other become one read
(coalesce.py). All reads are taken to be as long as the mean.
"""

from __future__ import annotations

import numpy as np

from toolkit.offload.flash_model import Floats
from toolkit.offload.policies import Ints
from toolkit.offload.prediction.reads import Reads
from toolkit.plan.schema import PAGE, Point, Table

RARE = 1e-6  # a chance that is neglected


def expected_reads(table: Table, frequency: Floats, resident: int, point: Point) -> Reads:
    """Of a table whose first `resident` records lie in memory.

    frequency  by record: in which share of tokens it is selected
    point      says how reads are joined and cut
    """
    missed = frequency[resident:]
    starts = table.offset + np.arange(resident, table.count, dtype=np.int64) * table.stride
    begins, ends = starts // PAGE * PAGE, -(-(starts + table.bytes) // PAGE) * PAGE
    joined, between = _joined(missed, begins, ends, point.gap)
    nbytes = ends - begins + between
    # a cluster begins a read of its own, and no read is longer than it may be
    on = joined * (1 - 1 / point.cluster)
    most = np.maximum(1, point.max_read // np.maximum(1, nbytes))
    reads = np.where(most < point.cluster, (1 - on) / (1 - on**most), 1 - on)
    requests, whole = float((missed * reads).sum()), float((missed * nbytes).sum())
    if not requests:
        return Reads(0.0)
    return Reads(float(missed.sum()), np.array([whole / requests]), np.array([requests]))


def _joined(missed: Floats, begins: Ints, ends: Ints, gap: int) -> tuple[Floats, Floats]:
    """Of each miss: the chance that it joins one before it, and the bytes that lie between.

    These are below 0 where both lie in one page; a mean that has 0 for what joins none.
    """
    joined, between = np.zeros(len(missed)), np.zeros(len(missed))
    alone: Floats = np.ones(len(missed))  # the chance that nothing between the two is missed
    for apart in range(1, len(missed)):
        distance = begins[apart:] - ends[:-apart]
        chance = np.where(distance <= gap, missed[:-apart] * alone[apart:], 0.0)
        if chance.max() < RARE:
            break
        joined[apart:] += chance
        between[apart:] += chance * distance
        alone[apart:] *= 1 - missed[:-apart]
    return joined, between
