"""The rungs of `bench --ladder`: the ideas of LLM in a flash, one by one (its tables 2 and 3).

    naive      a token reads all weights; it computes all neurons
    hybrid     what fits into the budget stays, a token reads the rest; it computes all neurons
    predictor  reads what is predicted and keeps none of it; each part of a record is a read
    cache      as much of that as fits stays in memory, by the plan's policy
    bundle     the parts of a record are one read: the plan as it runs with `--overlap off`
    overlap    computes what is there while the rest is read: the plan as it runs

As in the paper, seconds of the first four are a sum: of reading, by the profile of the flash, and
of computing with all in memory, measured. No page cache gives what the best flash does, and no
plan has parts apart. The last two are runs whose reads imitate the flash, so that what a reader
does with bytes counts in both.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from toolkit.bench.flash.what_if import ReadSums, Steps, replay
from toolkit.bench.trials import spread
from toolkit.offload.flash_model import Flash
from toolkit.offload.policies import Floats32
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Plan, Point
from toolkit.plan.table_figures import slot_bytes

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
    importance: Sequence[Floats32 | None] = ()

    def reads(self, kept: bool, bundled: bool = True, gap: int | None = None) -> ReadSums:
        """Of one that keeps its records, or none; that joins its reads up to a gap, or its own."""
        at = self.point if kept else without_slots(self.point)
        at = at if gap is None else replace(at, gap=gap)
        told = (self.steps, self.decoded, bundled, self.importance)
        return replay(self.plan, at, self.flash, *told)


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
    held, rest = slot_bytes(plan, point.slots), _rest(plan, point)
    bare, full = point.memory - held, point.memory
    return [
        _row("naive", 0, _streamed(replays.flash, whole), every),
        _row("hybrid", full, _streamed(replays.flash, rest), every),
        _row("predictor", bare, replays.reads(kept=False, bundled=False), chosen),
        _row("cache", full, replays.reads(kept=True, bundled=False), chosen),
    ]


def _rest(plan: Plan, point: Point) -> int:
    """Bytes of records that a token needs and memory doesn't have; of rows by ids, of each one."""
    decode = token_phase(plan)
    rules = {gather.table: gather.select for gather in (decode.gathers() if decode else [])}
    missing = {i: plan.tables[i].count - point.slots[i] for i in rules}
    ids = {i: min(rule.k, missing[i]) for i, rule in rules.items() if rule.by == "ids"}
    return sum(n * plan.tables[i].bytes for i, n in (missing | ids).items())


def parts_row(name: str, replays: Replays, chosen: Seconds) -> Row:
    """Nothing is kept, and each part of a record is a read; `chosen`: as of `summed`."""
    held = slot_bytes(replays.plan, replays.point.slots)
    reads = replays.reads(kept=False, bundled=False)
    row = _row(name, replays.point.memory - held, reads, chosen)
    return {**row, "io_share": row["io_s"] / row["seconds"]}


def run_row(name: str, point: Point, measured: Mapping[str, Any], seconds: Seconds) -> Row:
    """One that runs, by the figures of its flash: reading and computing have no seconds apart."""
    keys = ("flash_bytes_per_token", "reads_per_token", "read_sizes", "io_share")
    return {
        **{"rung": name, "memory": point.memory, "io": "imitated"},
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


def _streamed(flash: Flash, nbytes: int) -> ReadSums:
    """Of one token, as one read: the best that a flash can do."""
    return ReadSums(1, 1, nbytes, float(flash.seconds(nbytes, "sequential")))


def _row(name: str, memory: int, reads: ReadSums, computing: Seconds) -> Row:
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
