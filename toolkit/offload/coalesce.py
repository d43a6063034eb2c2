"""Records to reads: whole pages, in order of address, joined where asking again costs more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.offload.policies import Ints
from toolkit.plan.schema import PAGE


@dataclass(frozen=True)
class Runs:
    """Reads of a list of records, by file offset; each is whole pages."""

    spans: Ints  # [n, 2] (offset in the file, bytes)
    firsts: Ints  # [n] the place in the list of the run's first record

    @property
    def bytes(self) -> int:
        """Read, pages and gaps included."""
        return int(self.spans[:, 1].sum())


def coalesce(
    starts: Ints,
    size: int,
    gap: int,
    max_read: int,
    most: int,
    places: Ints | None = None,
    there: Ints | int = 0,
) -> Runs:
    """The reads that bring these records.

    A record's pages join the run before it while the bytes between are at most `gap`, the run
    stays within `max_read`, and no cluster begins: each `most` records make a cluster, and no run
    belongs to two. A record larger than `max_read` is a run of its own.

    Args:
        starts: File offsets of the records, ascending.
        size: Bytes of a record.
        gap: Bytes, whole pages.
        max_read: Bytes, whole pages.
        most: Records of a cluster, at least 1.
        places: Of these records in a list that has others as well, which aren't read: clusters are
            of that list, and `firsts` places in it. None: there are no others.
        there: Bytes of each record, the first ones, whose pages have been read: less than all.
    """
    places = np.arange(len(starts)) if places is None else places
    begins, ends = starts // PAGE * PAGE, -(-(starts + size) // PAGE) * PAGE
    begins = np.where(np.asarray(there) > 0, -(-(starts + there) // PAGE) * PAGE, begins)
    fresh = np.ones(len(starts), bool)
    fresh[1:] = (np.diff(places // most) > 0) | (begins[1:] - ends[:-1] > gap)
    firsts = np.flatnonzero(fresh)
    lasts = np.append(firsts, len(starts))[1:] - 1
    if np.any(ends[lasts] - begins[firsts] > max_read):
        firsts, lasts = cut(begins, ends, firsts, lasts, max_read)
    return Runs(np.stack([begins[firsts], ends[lasts] - begins[firsts]], axis=1), places[firsts])


def cut(begins: Ints, ends: Ints, firsts: Ints, lasts: Ints, max_read: int) -> tuple[Ints, Ints]:
    """First and last records of the runs, none longer than max_read with more than one record.

    begins, ends  of each record's pages; `firsts`, `lasts`: records of the runs before
    """
    found: list[tuple[int, int]] = []
    for start, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        while ends[last] - begins[start] > max_read and start < last:
            reached = np.searchsorted(
                ends[start : last + 1], begins[start] + max_read, side="right"
            )
            end = start + max(0, int(reached) - 1)
            found.append((start, end))
            start = end + 1
        found.append((start, last))
    runs = np.array(found, np.int64).reshape(-1, 2)
    return runs[:, 0], runs[:, 1]
