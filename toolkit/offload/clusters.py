"""How the records of a gather are cut into launches.

What is missing is read in order of address, so many records at a time: each such cluster is
computed while the next one's reads go on. What was resident comes first; where that is several
launches, they stand between the clusters, so that flash has time for each of these. Order and cuts
hang on no timing, so sums don't either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    resident: bool = False  # before the gather: nothing is read for it


@dataclass(frozen=True)
class Cluster:
    """Reads that are waited for together, and what is computed then.

    The first of a gather has no runs: it is of what was resident. A gather that selects nothing
    still launches once, over no record, since sums must begin at 0.
    """

    runs: tuple[int, int]  # first and end among the outcome's runs
    launches: tuple[Launch, ...]  # of slots, of staging, of what was resident; none is empty


def at_once(misses: int, tile: int, cluster: int) -> int:
    """Records that are read together: a cluster, or of tiles that are alike no more than `tile`."""
    if not tile:
        return cluster
    return -(-misses // -(-misses // tile)) if misses else tile


def clusters(
    hits: Ints, misses: Ints, slot_of: Ints, runs: Runs, tile: int, most: int, dense: int = 0
) -> tuple[Cluster, ...]:
    """The clusters of a gather.

    hits, misses  ascending; if there are none, nothing is selected
    runs          of the misses, cut after each `most` of them
    tile          records of a launch at most; 0: what is resident is one
    dense         of the hits, the first ones, which nobody selects: a launch of their own, in
                  front. It is known before all else, so there is always another one behind it
    """
    hot, hits = hits[:dense], hits[dense:]
    residents = _resident(hits, slot_of, tile)
    if not len(hits) and not len(misses):
        residents = [Launch(False, NONE, NONE, True)]
    first = (Launch(False, hot, slot_of[hot], True),) if dense else ()
    parts = [Cluster((0, 0), first), *_missing(misses, slot_of, runs, most)]
    ends = [-(-number * len(residents) // len(parts)) for number in range(len(parts) + 1)]
    return tuple(
        replace(part, launches=part.launches + tuple(residents[first:end]))
        for part, first, end in zip(parts, ends, ends[1:], strict=False)
    )


def _resident(hits: Ints, slot_of: Ints, tile: int) -> list[Launch]:
    each = tile or max(1, len(hits))
    parts = [hits[at : at + each] for at in range(0, len(hits), each)]
    return [Launch(False, part, slot_of[part], True) for part in parts]


def _missing(records: Ints, slot_of: Ints, runs: Runs, most: int) -> list[Cluster]:
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
