"""What decoding would read of flash by other settings than those it ran by.

Which records a token needs hangs on no cache: one run's access trace tells them, and the machine of
toolkit/offload decides the rest anew, entry for entry as the runner does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from toolkit.errors import PocketError
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine
from toolkit.offload.policies import Ints
from toolkit.plan.schema import Plan, Point, Select, Table

Steps: TypeAlias = Sequence[Sequence[Ints]]  # of each run, of each gather: the records it selects

NAMED = Select(by="ids")  # in a replay records are chosen by their numbers


@dataclass
class Reads:
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


def steps_of(trace: Path) -> list[list[Ints]]:
    """Of an access trace; raises PocketError where it can't be read."""
    try:
        lines = [json.loads(line) for line in trace.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise PocketError(f"the trace {trace} can't be read", error, "run it again") from None
    return [
        [np.asarray(each["sel"], np.int64) for each in run]
        for _, run in groupby(lines, lambda line: line["t"])
    ]


def replay(
    plan: Plan, point: Point, flash: Flash, steps: Steps, decoded: int, bundled: bool = True
) -> Reads:
    """What the last `decoded` of these runs read, after those before them.

    bundled  False: parts of a record lie in tables of their own, one behind the other, and each
             missing record is as many reads
    """
    groups = [[number] for number in range(len(plan.tables))]
    tables: Sequence[Table] = plan.tables
    if not bundled:
        tables, point, groups = _apart(plan, point)
    machine, reads = Machine(tables, point, flash), Reads(decoded)
    for step, gathers in enumerate(steps):
        for number, records in _by_table(plan, gathers):
            for own in groups[number]:
                found = machine.gather(own, NAMED, records, step)
                if step >= len(steps) - decoded:
                    reads.count += len(found.runs)
                    reads.bytes += found.bytes_read
                    reads.seconds += found.seconds
                    reads.sizes.update(found.runs[:, 1].tolist())
    return reads


def _by_table(plan: Plan, gathers: Sequence[Ints]) -> Iterator[tuple[int, Ints]]:
    """Any phase with as many gathers reads the same tables in the same order."""
    phase = next(each for each in plan.phases if len(each.gathers()) == len(gathers))
    for gather, records in zip(phase.gathers(), gathers, strict=True):
        yield gather.table, records


def _apart(plan: Plan, point: Point) -> tuple[list[Table], Point, list[list[int]]]:
    """Tables of parts, the point for them, and of each table of the plan which ones are its."""
    tables, groups, of = list[Table](), list[list[int]](), list[int]()
    for number, table in enumerate(plan.tables):
        groups.append([len(tables) + at for at in range(len(table.parts))])
        of += [number] * len(table.parts)
        tables += [
            replace(table, bytes=part.bytes, stride=part.bytes, offset=0, parts=(part,))
            for part in table.parts
        ]
    slots, pinned, dense = (
        tuple(each[number] for number in of) for each in (point.slots, point.pinned, point.dense)
    )
    return tables, replace(point, slots=slots, pinned=pinned, dense=dense), groups
