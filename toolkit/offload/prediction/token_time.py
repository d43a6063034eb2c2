"""How long a gather takes: the time model that the planner and `estimate` share.

t = wait + max(reads, what is resident) + what came last: reads go on while the device computes what
is there, and only the last cluster waits for them all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Of a device.

    rest     seconds of a token beside its tables
    byte     seconds to compute a byte of a record
    launch   seconds of a launch over records beside their bytes
    wait     seconds of a gather beside its launches: the host waits for scores, the device for it
    select   seconds of the host for each record of a table: it selects, looks up and evicts
    handoff  seconds from the end of reads until the thread that launches goes on
    copy     seconds of a thread to bring a byte of a record from where it was read to its place
    whole    seconds of a gather whose table lies in memory whole, beside its records and the choice
             among them: a device that chooses itself waits for nobody; None: it doesn't
    choice   seconds that it takes to choose
    """

    rest: float = 0.0
    byte: float = 0.0
    launch: float = 0.0
    wait: float = 0.0
    select: float = 0.0
    handoff: float = 0.0
    copy: float = 0.0
    whole: float | None = None
    choice: float = 0.0


def gathering(
    costs: Costs,
    read_s: float,
    misses: float,
    needed: float,
    nbytes: int,
    cluster: int,
    threads: int = 1,
    launches: float = 1,
    whole: bool = False,
    count: int = 0,
) -> float:
    """Seconds of a gather that needs so many records of `nbytes` and misses some of them.

    read_s    seconds of the flash, which does one read at a time: a thread that copies leaves it
              idle, unless there is another
    launches  over what is resident
    whole     all records of the table lie in memory; `count`: how many it has
    """
    each, last = costs.byte * nbytes, min(misses, cluster)
    if whole and costs.whole is not None:
        return costs.whole + (costs.choice if count else 0.0) + each * needed
    late = min(1.0, misses)  # how often something comes last
    clusters = max(late, misses / cluster)
    before = each * (needed - last) + costs.launch * (launches + clusters - late)
    reading = max(read_s, (read_s + costs.copy * misses * nbytes) / threads)
    shown = max(reading, before)
    return (
        costs.wait
        + costs.select * count
        + shown
        + late * (costs.launch + costs.handoff)
        + each * last
    )
