"""The rungs of `bench --ladder`: the ideas of LLM in a flash, one by one (its tables 2 and 3).

    naive      a token reads all weights; it computes all neurons
    hybrid     what fits into the budget stays, a token reads the rest; it computes all neurons
    predictor  reads what is predicted and keeps none of it; each part of a record is a read
    cache      as much of that as fits stays in memory, by the plan's policy
    bundle     the parts of a record are one read
    overlap    computes what is there while the rest is read: the plan as it runs

As in the paper, seconds of the first five are a sum: of reading, by the profile of the flash, and
of computing with all in memory, measured. No page cache gives what the best flash does. The last
one is a run whose reads imitate the flash.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from toolkit.bench.flash.replay import Reads, Steps, replay
from toolkit.bench.trials import spread
from toolkit.offload.flash_model import Flash
from toolkit.offload.points import slot_bytes
from toolkit.plan.schema import Plan, Point
from toolkit.tables import size, table

Row: TypeAlias = dict[str, Any]
Seconds: TypeAlias = Sequence[float]  # of a token, one for each repeat


@dataclass(frozen=True)
class Replays:
    """What decoding reads by other settings of a point, of the last `decoded` of these steps."""

    plan: Plan
    point: Point
    flash: Flash
    steps: Steps
    decoded: int

    def reads(self, kept: bool, bundled: bool = True, gap: int | None = None) -> Reads:
        """Of one that keeps its records, or none; that joins its reads up to a gap, or its own."""
        at = self.point if kept else without_slots(self.point)
        at = at if gap is None else replace(at, gap=gap)
        return replay(self.plan, at, self.flash, self.steps, self.decoded, bundled)


def without_slots(point: Point) -> Point:
    """The same point with no record in memory; it tells no `memory` of its own."""
    nothing = (0,) * len(point.slots)
    return replace(point, slots=nothing, pinned=nothing, dense=nothing)


def summed(replays: Replays, whole: int, every: Seconds, chosen: Seconds) -> list[Row]:
    """The rungs whose seconds are sums.

    whole          bytes of all weights
    every, chosen  seconds that computing takes of all neurons, and of those that are selected
    """
    plan, point = replays.plan, replays.point
    held = slot_bytes(plan, point.slots)
    rest = slot_bytes(plan, [each.count for each in plan.tables]) - held
    bare, full = point.memory - held, point.memory
    return [
        _row("naive", 0, _streamed(replays.flash, whole), every),
        _row("hybrid", full, _streamed(replays.flash, rest), every),
        _row("predictor", bare, replays.reads(kept=False, bundled=False), chosen),
        _row("cache", full, replays.reads(kept=True, bundled=False), chosen),
        _row("bundle", full, replays.reads(kept=True), chosen),
    ]


def run_row(point: Point, measured: Mapping[str, Any], seconds: Seconds) -> Row:
    """The last rung, by the figures of its flash: reading and computing have no seconds apart."""
    keys = ("flash_bytes_per_token", "reads_per_token", "read_sizes", "io_share")
    return {
        **{"rung": "overlap", "memory": point.memory, "io": "imitated"},
        **{key: measured[key] for key in keys},
        **{"io_s": None, "compute_s": None},
        **_rate(seconds),
    }


def coalescing(replays: Replays) -> list[Row]:
    """Whole records read as they are, or with the bytes between: where none is kept, and some."""
    return [
        {"kept": kept, "gap": gap, **replays.reads(kept, gap=gap).per_token()}
        for kept in (False, True)
        for gap in (0, replays.point.gap)
    ]


def _streamed(flash: Flash, nbytes: int) -> Reads:
    """Of one token, as one read: the best that a flash can do."""
    return Reads(1, 1, nbytes, float(flash.seconds(nbytes, "sequential")))


def _row(name: str, memory: int, reads: Reads, computing: Seconds) -> Row:
    per_token = reads.per_token()
    return {
        **{"rung": name, "memory": memory, "io": "profile"},
        **per_token,
        "compute_s": statistics.median(computing),
        **_rate([per_token["io_s"] + each for each in computing]),
    }


def _rate(seconds: Seconds) -> Row:
    middle = statistics.median(seconds)
    return {"seconds": middle, "tokens_per_s": 1 / middle, "spread": spread(seconds)}


def rung_lines(rows: Sequence[Row]) -> list[str]:
    """A table, one row for each rung."""
    head = ("rung", "memory", "read a token", "reads", "I/O", "compute", "token", "tokens/s", "")
    return table([(*head, "I/O by"), *map(_line, rows)])


def _line(row: Row) -> tuple[str, ...]:
    parts = (row["io_s"], row["compute_s"], row["seconds"])
    return (
        row["rung"],
        size(row["memory"]),
        size(int(row["flash_bytes_per_token"])),
        f"{row['reads_per_token']:,.0f}",
        *("" if each is None else f"{1e3 * each:.1f} ms" for each in parts),
        f"{row['tokens_per_s']:,.1f}",
        f"± {row['spread'] / 2:.0%}",
        row["io"],
    )


def coalescing_lines(rows: Sequence[Row]) -> Iterator[str]:
    """What joining reads brings, and how large they are then."""
    for few, more in zip(rows[::2], rows[1::2], strict=True):
        kept = "with records in memory" if few["kept"] else "with none in memory"
        share = f"{more['io_s'] / few['io_s']:.2f} of the time" if few["io_s"] else "nothing read"
        yield f"{kept}, reads up to {more['gap'] // 1024} KB apart joined: {share}"
        for row in (few, more):
            nbytes = size(int(row["flash_bytes_per_token"]))
            read = f"{row['reads_per_token']:,.0f} reads, {nbytes}, {1e3 * row['io_s']:.1f} ms"
            yield f"  gap {row['gap'] // 1024:>3} KB  {read}: {_sizes(row)}"


def _sizes(row: Row) -> str:
    """A histogram by powers of two: 4 KB 61 %, 8 KB 20 %."""
    total, found = sum(row["read_sizes"].values()), dict[int, int]()
    for nbytes, count in row["read_sizes"].items():
        bin_ = 1 << (int(nbytes) - 1).bit_length()
        found[bin_] = found.get(bin_, 0) + count
    shares = (f"≤ {at // 1024} KB {n / total:.0%}" for at, n in sorted(found.items()))
    return ", ".join(shares)
