"""How the records of a gather are cut into launches.

What is missing is read in order of address, so many records at a time: each such cluster is
computed while the next one's reads go on. Order and cuts hang on no timing, so sums don't either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.offload.coalesce import Runs
from toolkit.offload.policies import Ints
from toolkit.offload.record_cache import NONE


@dataclass(frozen=True)
class Launch:
    """One launch of a gather's dispatches: records by their slots, or by places in staging."""

    staged: bool
    records: Ints  # ascending
    slots: Ints  # of the table's memory; of staging, counted from the cluster's first


@dataclass(frozen=True)
class Cluster:
    """Reads that are waited for together, and what is computed then.

    The first of a gather has no runs: it is what was resident. A gather that selects nothing
    still launches once, over no record, since sums must begin at 0.
    """

    runs: tuple[int, int]  # first and end among the outcome's runs
    launches: tuple[Launch, ...]  # those of slots, then the one of staging; of them none is empty


def resident(hits: Ints, slot_of: Ints, tile: int, nothing: bool) -> Cluster:
    """What was resident, `tile` records a launch; 0: all in one. `nothing`: nothing is selected."""
    if nothing:
        return Cluster((0, 0), (Launch(False, NONE, NONE),))
    each = tile or max(1, len(hits))
    parts = [hits[at : at + each] for at in range(0, len(hits), each)]
    return Cluster((0, 0), tuple(Launch(False, part, slot_of[part]) for part in parts))


def missing(records: Ints, slot_of: Ints, runs: Runs, most: int) -> list[Cluster]:
    """Clusters of `most` records that are read, of ascending ones; their runs were cut alike."""
    starts = range(0, len(records), most)
    ends = np.searchsorted(runs.firsts, [*starts, len(records)]).tolist()
    return [
        Cluster((ends[number], ends[number + 1]), _launches(records[at : at + most], slot_of))
        for number, at in enumerate(starts)
    ]


def _launches(records: Ints, slot_of: Ints) -> tuple[Launch, ...]:
    """The launch of what has been admitted, and that of what lies in staging."""
    slots = slot_of[records]
    admitted, streamed = records[slots >= 0], records[slots < 0]
    launches = (
        Launch(False, admitted, slots[slots >= 0]),
        Launch(True, streamed, np.arange(len(streamed))),
    )
    return tuple(launch for launch in launches if len(launch.records))
