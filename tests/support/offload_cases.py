"""The inputs of the golden access traces: every selector with every policy, odd sizes, budgets
from no slot to all, and changes of them in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, cycle
from typing import Any

import numpy as np
from offload_golden import Line

from toolkit.offload.flash_model import FLASHES
from toolkit.offload.policies import POLICIES
from toolkit.plan.arena import round_up
from toolkit.plan.schema import PAGE

Rng = np.random.Generator
SELECTS: dict[str, Line] = {
    "all": {},
    "above": {"threshold": 0.4},
    "top": {"gamma": 0.2},
    "nonzero": {},
    "ids": {},
}
SHAPES = (  # bytes, stride, offset: padded, packed, packed over pages, whole pages
    (3648, 4096, 0),
    (1216, 1216, 8192),
    (4864, 4864, 4096),
    (7296, 8192, 1 << 31),
)
READS = ((8192, 32768), (0, 8192), (61440, 524288), (4096, 16384))  # gap, max_read
FRACTIONS = (0.5, 0.0, 1.0, 0.3)  # of the records: slots at first
STEPS = {1: 4, 7: 7, 63: 5, 65: 6, 1000: 2}  # gathers of a section by its records
TABLE = {  # a measured profile's, made up
    "random": [[4096, 9.0e8], [65536, 2.5e9], [524288, 3.4e9]],
    "sequential": [[4096, 1.1e9], [65536, 3.0e9], [524288, 3.9e9]],
}


def sections(by: str) -> Iterator[list[Line]]:
    """The inputs of one selector's file: headers, resizes and scores, without outcomes."""
    number = count(list(SELECTS).index(by) * 3)
    small, middle = cycle((7, 1)), cycle((65, 63))
    for policy in POLICIES:
        for records in (next(small), next(middle)):
            yield section(by, policy.name, records, next(number))
    large = POLICIES[list(SELECTS).index(by)]
    yield section(by, large.name, 1000, next(number))
    if by == "above":
        yield computed_anyway(next(number))
    if by == "nonzero":
        yield adapting(next(number))
        yield put_in_order(next(number))


def section(by: str, policy: str, records: int, number: int) -> list[Line]:
    rng = np.random.default_rng([number, records])
    header = _header(by, policy, records, number, rng)
    point = header["point"]
    lines = [header, {"resize": [point["slots"], point["pinned"]]}]
    hot = rng.permutation(records)  # how often each index is needed: as in real models
    for t in range(STEPS[records]):
        if t and records < 1000:
            lines += _resizes(t, records, policy, number)
        lines.append({"t": t} | _scores(by, records, hot, rng))
    return lines


def adapting(number: int) -> list[Line]:
    """A window that grows, shrinks as slots become fewer, and grows again."""
    rng = np.random.default_rng(number)
    header = _header("nonzero", "window", 63, number, rng)
    lines = [header, {"resize": [30, 4]}]
    for t in range(27):
        if t in (9, 16):
            lines.append({"resize": [{9: 14, 16: 34}[t], 4]})
        chosen = (rng.random(63) < 0.12).astype(int)
        lines.append({"t": t, "scores": chosen.tolist()})
    return lines


def computed_anyway(number: int) -> list[Line]:
    """The first records are selected whatever their scores are, but not where all are pinned."""
    rng = np.random.default_rng(number)
    header = _header("above", "lfu", 65, number, rng)
    header["point"] |= {"dense": 9, "cluster": 4}
    header["tile"] = 0
    lines = [header, {"resize": [30, 12]}]
    for t in range(6):
        if t in (3, 5):
            lines.append({"resize": [65, 65] if t == 3 else [20, 9]})
        chosen = (rng.random(65) < (0.0, 0.2)[t > 0]).astype(int)
        lines.append({"t": t, "scores": (64 * chosen).tolist()})
    return lines


def put_in_order(number: int) -> list[Line]:
    """All records come to memory, and each to the slot of its number, twice."""
    rng = np.random.default_rng(number)
    header = _header("nonzero", "lfu", 63, number, rng)
    lines = [header, {"resize": [30, 4]}]
    for t in range(6):
        if t in (2, 3, 4):
            lines.append({"resize": [63, 63] if t % 2 == 0 else [14, 4]})
        chosen = (rng.random(63) < 0.3).astype(int)
        lines.append({"t": t, "scores": chosen.tolist()})
    return lines


def _header(by: str, policy: str, records: int, number: int, rng: Rng) -> Line:
    size, stride, offset = SHAPES[number % len(SHAPES)]
    gap, most = READS[number // 2 % len(READS)]
    slots = round(records * FRACTIONS[number % len(FRACTIONS)])
    pinned = slots if policy == "static" else slots // 3
    flash = FLASHES[number % len(FLASHES)]
    select = {"by": by, "threshold": 0.0, "magnitude": False, "k": 0, "gamma": 1.0} | SELECTS[by]
    if by == "above":
        select["magnitude"] = number % 2 == 1
        if number % 4 == 0:
            select["threshold"] = -0.3  # a NaN is above it
    if by == "top":
        select["k"] = max(1, records // 4)
    if by == "ids":
        select["k"] = max(1, records // 5)
    return {
        "table": {
            "name": "layers.0.ffn",
            "count": records,
            "bytes": size,
            "stride": stride,
            "offset": offset,
        },
        "order": rng.permutation(records).tolist() if number % 4 else None,
        "importance": _importance(records, rng) if policy == "importance" else None,
        "point": {
            "slots": slots,
            "pinned": pinned,
            "policy": policy,
            "window": 2,
            "gap": gap,
            "max_read": max(most, round_up(size, PAGE) + PAGE),
            "cluster": (4, 16, 64)[number % 3],
        },
        "select": select,
        "tile": 5 if number % 5 == 2 else 0,
        "flash": {
            "alpha": flash.alpha,
            "beta": flash.beta,
            "latency": 1e-6 * (number % 2),
            "table": TABLE if number % 7 == 3 else None,
        },
    }


def _importance(records: int, rng: Rng) -> list[int]:
    return [int(value) for value in rng.integers(0, 200, records)]


def _resizes(t: int, records: int, policy: str, number: int) -> Iterator[Line]:
    """Between steps: fewer slots, none, all, a few; pinned follows."""
    sizes = {2: records // 3, 3: 0, 4: records, 5: records // 2}
    if t in sizes and (t + number) % 3:
        slots = sizes[t]
        yield {"resize": [slots, slots if policy == "static" else slots // (t - 1)]}


def _scores(by: str, records: int, hot: Any, rng: Rng) -> Line:
    if by == "all":
        return {}
    if by == "ids":
        return {"ids": rng.integers(0, records, max(1, records // 5)).tolist()}
    likely = rng.random(records) < 0.9 / (1 + 6 * hot / records)
    values = rng.integers(-99, 100, records) if by != "nonzero" else rng.integers(-3, 4, records)
    if by == "top":
        values = np.where(likely, values, values // 8)
    else:
        values = np.where(likely, values, -np.abs(values) if by == "above" else 0)
    return {"scores": [None if rng.random() < 0.02 else int(value) for value in values]}
