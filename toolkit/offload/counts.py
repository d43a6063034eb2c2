"""What gathers have read, as executors count it since a plan was loaded, or a part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from toolkit.errors import PocketError

MOST_LATE = 0.05  # of an imitation's time: beyond it, figures tell of this machine


@dataclass(frozen=True)
class Counts:
    """Sums over gathers.

    selected, hits          records, and those of them that were in memory
    reads, read_bytes       of flash; `used_bytes`: of the records among them that were wanted
    waited_s, stalled_s     that the host waited for reads, and of it, at most, what the device did
    imitated_s, late_s      that a flash would have read, and what the imitation was late by
    ahead_reads, ahead_bytes  of flash, while the plan was loaded: they are in no other sum
    read_sizes              reads by their bytes
    left, spared_bytes      of reads in two phases: records that were left after the first one, and
                            bytes of the second one that weren't read for them
    """

    selected: int = 0
    hits: int = 0
    reads: int = 0
    read_bytes: int = 0
    used_bytes: int = 0
    waited_s: float = 0.0
    stalled_s: float = 0.0
    imitated_s: float = 0.0
    late_s: float = 0.0
    ahead_reads: int = 0
    ahead_bytes: int = 0
    left: int = 0
    spared_bytes: int = 0
    read_sizes: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> Counts:
        """Of an executor's `stats`; nothing where its plan has no tables."""
        told = stats.get("tables") or {}
        sizes = Counter({int(size): n for size, n in told.get("read_sizes", {}).items()})
        return cls(**{name: told.get(name, 0) for name in _SUMS}, read_sizes=sizes)

    def __add__(self, other: Counts) -> Counts:
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        return Counts(**sums, read_sizes=self.read_sizes + other.read_sizes)

    def __sub__(self, before: Counts) -> Counts:
        """What came after `before`. Differences lose last bits: a part stays within the whole."""
        rest = {name: getattr(self, name) - getattr(before, name) for name in _SUMS}
        rest["stalled_s"] = min(rest["stalled_s"], rest["waited_s"])
        return Counts(**rest, read_sizes=self.read_sizes - before.read_sizes)

    @property
    def late_share(self) -> float:
        """Of the time that an imitated flash reads; 0 where none is imitated."""
        return self.late_s / self.imitated_s if self.imitated_s else 0.0


_SUMS = tuple(each.name for each in fields(Counts) if each.name != "read_sizes")


def flash_facts(stats: Mapping[str, Any], flash: str | None, counts: Counts) -> dict[str, Any]:
    """What `--json` tells of the flash that was read, by an executor's `stats`.

    points_used           since the plan was loaded, with how many tokens each
    overlap               what launches wait for: cluster, matrix or off
    engine                that computes records: device, threads or both; by how many threads, and
                          bytes that these keep beside `memory`
    memory, record_bytes  that the run keeps to, and of them, what records of weights take
    late_share            of the time of the flash that was imitated; None: it is no imitation
    """
    told = stats["tables"]
    return {
        "profile": flash,
        "imitated": flash is not None,
        "direct": told["direct"],
        "late_share": None if flash is None else counts.late_share,
        "overlap": told["overlap"],
        "engine": {key: told["engine"][key] for key in ("name", "threads", "bytes")},
        "memory": told["memory"],
        "record_bytes": told["record_bytes"],
        "points_used": told["points_used"],
    }


def too_late(flash: str | None, counts: Counts) -> PocketError | None:
    """The error in place of figures, where an imitation of this flash was late."""
    if flash is None or counts.late_share <= MOST_LATE:
        return None
    slower = ", or --flash ufs40" if flash == "m1max" else ", or a slower --flash"
    return PocketError(
        f"the imitation of {flash} was late by {100 * counts.late_share:.0f} % of the time: "
        "figures withheld",
        f"reads of the page cache here took longer than {flash} takes",
        f"fewer cores busy{slower}",
    )
