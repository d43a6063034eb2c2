"""Golden access traces: what a machine decides, in lines that numpy and the runner replay.

A file has sections. Each begins with a header, which opens a machine with one table and empty
slots, and goes on with steps. Whole numbers stand for floats where a key says 64ths: n is the
float32 n / 64, null is NaN.

header
    table       as in plan.json
    order       index of each record, null: the record's own number
    importance  64ths by record, null: all alike
    point       as in plan.json: slots, pinned (of the one table), policy, gap, max_read, cluster;
                and window: steps that the policy of that name begins with; dense, if it has any
    select      by, threshold, magnitude, k, gamma; rounded to float32 before they are compared
    tile        of the gathers, 0: none
    flash       alpha, beta, latency; table: {order: [[bytes, bytes a second], …]} or null
resize          the first line of each section opens its point: from no slots to these
    resize      [slots, pinned] from here on
    evict       records, in the order of eviction
    move        [record, new slot], in order
    admit       [record, slot], in order: pinned records that are read
    runs        [offset, bytes]
    seconds     of those reads; compare them to 1e-9
gather
    scores      64ths by index; `ids` instead for that selector; neither for `all`
    t, g, sel, hit, admit, evict, runs, read, used    as in toolkit/offload/access_trace.py
    stream      records that get no slot, ascending
    clusters    [runs, [records of each launch over slots], records of the launch over staging];
                the first is what was resident. A gather of nothing is [[0, [0], 0]].
    seconds     as above

Seconds apart, every value is equal or the two machines differ.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from toolkit.offload.access_trace import entry
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Change, Machine, Outcome
from toolkit.offload.selection import Array
from toolkit.plan.schema import Point, Select, Table

Line = dict[str, Any]
UNIT = np.float32(64)


def replay(lines: Iterable[Line]) -> Iterator[tuple[Line, Line]]:
    """Each line but headers, and the line that the machine makes from its inputs."""
    machine = rule = header = None
    for line in lines:
        if "table" in line:
            header, rule = line, Select(**line["select"])
            machine = opened(line)
        else:
            assert machine and rule and header
            yield line, step(machine, rule, header, line)


def opened(header: Line) -> Machine:
    """A machine of a header's table, without slots."""
    order, importance = header["order"], header["importance"]
    return Machine(
        [Table(**header["table"], kind="neuron", file=0, parts=())],
        point_of(header["point"] | {"slots": 0, "pinned": 0}),
        flash_of(header["flash"]),
        [None if order is None else np.array(order)],
        [None if importance is None else floats(importance)],
    )


def step(machine: Machine, rule: Select, header: Line, line: Line) -> Line:
    """What the machine makes of a line's inputs, as a line."""
    if "resize" in line:
        slots, pinned = line["resize"]
        machine.point = dataclasses.replace(machine.point, slots=(slots,), pinned=(pinned,))
        return _resized(line, machine.change(machine.point)[0])
    outcome = machine.gather(0, rule, scores_of(line), line["t"], header["tile"])
    given = {key: line[key] for key in ("scores", "ids") if key in line}
    return given | _gathered(line["t"], outcome)


def point_of(values: Line) -> Point:
    """Of one table; what is not in the file matters to nothing that it says."""
    kept = {key: values[key] for key in ("policy", "gap", "max_read", "cluster")}
    slots, pinned = (values["slots"],), (values["pinned"],)
    window, dense = (values["window"],), (values.get("dense", 0),)
    return Point(0, slots, pinned, dense, select=(), threads=1, window=window, **kept)


def flash_of(values: Line) -> Flash:
    rows = values["table"] or {}
    table = {order: tuple((int(n), float(r)) for n, r in found) for order, found in rows.items()}
    return Flash("golden", values["alpha"], values["beta"], values["latency"], table=table)


def scores_of(line: Line) -> Array | None:
    if "ids" in line:
        return np.array(line["ids"], np.int32)
    return floats(line["scores"]) if "scores" in line else None


def floats(values: list[int | None]) -> Array:
    """Float32 of 64ths."""
    numbers = [np.nan if value is None else value for value in values]
    return np.array(numbers, np.float32) / UNIT


def text(line: Line) -> str:
    return json.dumps(line, separators=(",", ":"))


def _resized(line: Line, change: Change) -> Line:
    return {
        "resize": line["resize"],
        "evict": change.moves.evicted.tolist(),
        "move": change.moves.moved.tolist(),
        "admit": change.moves.admitted.tolist(),
        "runs": change.runs.tolist(),
        "seconds": change.seconds,
    }


def _gathered(t: int, outcome: Outcome) -> Line:
    clusters = []
    for cluster in outcome.clusters:
        counts = [len(launch.records) for launch in cluster.launches if not launch.staged]
        staged = sum(len(launch.records) for launch in cluster.launches if launch.staged)
        clusters.append([cluster.runs[1] - cluster.runs[0], counts, staged])
    return entry(t, 0, outcome) | {
        "stream": outcome.streamed.tolist(),
        "clusters": clusters,
        "seconds": outcome.seconds,
    }
