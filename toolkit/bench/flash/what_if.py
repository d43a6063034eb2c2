"""What decoding would read of flash by other settings than those it ran by.

Which records a token needs hangs on no cache: one run's access trace tells them, and the machine of
toolkit/offload decides the rest anew, entry for entry as the runner does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from toolkit.offload.access_trace import BEFORE, gather_lines
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine
from toolkit.offload.policies import Floats32, Ints
from toolkit.plan.schema import Plan, Point, Select, Table

Gathered: TypeAlias = tuple[int, Ints]  # the gather's number, as points have it, and its records
Steps: TypeAlias = Sequence[Sequence[Gathered]]  # of each run of a phase

NAMED = Select(by="ids")  # in a replay records are chosen by their numbers


@dataclass
class ReadSums:
    """Sums over the decoded tokens: requests, their bytes, and the seconds that a flash takes."""

    tokens: int
    count: int = 0
    bytes: int = 0
    seconds: float = 0.0
    sizes: Counter[int] = field(default_factory=Counter)

    def per_token(self) -> dict[str, Any]:
        """Keys as in `pocketcl bench --json`, and `io_s`, one read after the other."""
        return {
            "flash_bytes_per_token": self.bytes / self.tokens,
            "reads_per_token": self.count / self.tokens,
            "read_sizes": {str(size): n for size, n in sorted(self.sizes.items())},
            "io_s": self.seconds / self.tokens,
        }


def steps_of(trace: Path) -> list[list[Gathered]]:
    """Of an access trace; raises PocketError where it is none."""
    lines = (line for line in gather_lines(trace) if line["t"] > BEFORE)
    return [
        [(each["g"], np.asarray(each["sel"], np.int64)) for each in run]
        for _, run in groupby(lines, lambda line: line["t"])
    ]


def replay(
    plan: Plan,
    point: Point,
    flash: Flash,
    steps: Steps,
    decoded: int,
    bundled: bool = True,
    importance: Sequence[Floats32 | None] = (),
) -> ReadSums:
    """What the last `decoded` of these runs read, after those before them.

    bundled     False: parts of a record lie in tables of their own, one behind the other, and each
                missing record is as many reads
    importance  of each table, as a Machine takes it
    """
    of = [number for number, table in enumerate(plan.tables) for _ in _pieces(table, bundled)]
    tables = [piece for table in plan.tables for piece in _pieces(table, bundled)]
    sizes = [importance[number] for number in of] if importance else []
    rules = [gather for phase in plan.phases for gather in phase.gathers()]
    machine, reads = Machine(tables, _of(point, of), flash, (), sizes), ReadSums(decoded)
    for step, gathers in enumerate(steps):
        for at, records in gathers:
            rule = rules[at].select if rules[at].select.by == "all" else NAMED
            for own in (i for i, number in enumerate(of) if number == rules[at].table):
                found = machine.gather(own, rule, records, step)
                if step >= len(steps) - decoded:
                    reads.count += len(found.runs)
                    reads.bytes += found.bytes_read
                    reads.seconds += found.seconds
                    reads.sizes.update(found.runs[:, 1].tolist())
    return reads


def _pieces(table: Table, bundled: bool) -> list[Table]:
    """The table, or one for each part of its records."""
    if bundled:
        return [table]
    return [
        replace(table, bytes=part.bytes, stride=part.bytes, offset=0, parts=(part,))
        for part in table.parts
    ]


def _of(point: Point, tables: Sequence[int]) -> Point:
    """The point for these of its tables, in this order."""
    slots, pinned, dense, window = (
        tuple(each[number] for number in tables) if each else ()
        for each in (point.slots, point.pinned, point.dense, point.window)
    )
    return replace(point, slots=slots, pinned=pinned, dense=dense, window=window)
