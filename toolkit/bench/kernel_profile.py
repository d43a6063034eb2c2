"""`bench --kernels --save NAME`: what kernels reach of a device's limits, kept for `estimate`."""

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.devices.profiles import measured, write_measured

Rows = Sequence[Mapping[str, Any]]

WAITS = (
    0.3  # of a kernel's time, at least, are taken to be memory's: nearly equal times tell no more
)


def save_profile(name: str, figures: Mapping[str, Any]) -> Path:
    """Add the figures of a device to the profile of this name, or make it.

    The rates become those of this run. Shares of kernels that were measured before stay: they are
    of the rates around each kernel's own launches, which another minute's rates don't change.
    """
    earlier, found = measured(name), profile_of(figures, datetime.date.today())
    kernels = {**earlier.get("kernels", {}), **found["kernels"]}
    return write_measured(name, {**earlier, **found, "kernels": kernels})


def profile_of(figures: Mapping[str, Any], day: datetime.date) -> dict[str, Any]:
    """The rates of a device, and the shares that its kernels reach, by family."""
    rates = figures["rates"]
    cached = rates.get("cached_gb_s")
    cache = {"cache_bytes": rates["cache_bytes"], "cache_gbs": _short(cached)} if cached else {}
    return {
        "about": figures["device"],
        "class": figures["class"],
        "bandwidth_measured_gbs": _short(rates["read_gb_s"]),
        "fp32_tflops": _short(1e-3 * rates["multiply_add_gflop_s"]),
        **cache,
        "kernels": {key: _shares(rows) for key, rows in _grouped(figures["kernels"])},
        "source": f"S measured by pocketcl bench --kernels on {day}",
    }


def _grouped(rows: Rows) -> list[tuple[str, Rows]]:
    keys = dict.fromkeys(row["share_of"] for row in rows)
    return [(key, [row for row in rows if row["share_of"] == key]) for key in keys]


def _shares(rows: Rows) -> dict[str, Any]:
    """Of each limit: what the cases that meet it reach, by the time that they take."""
    done: dict[str, float] = {}
    taken: dict[str, float] = {}
    for row in rows:
        for limit, share in _reached(row):
            taken[limit] = taken.get(limit, 0.0) + row["seconds"]
            done[limit] = done.get(limit, 0.0) + row["seconds"] * share
    shares = {limit: _short(done[limit] / taken[limit]) for limit in done}
    return shares | ({"soft": True} if any(map(_tells_both, rows)) else {})


def _reached(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Shares of the limits that a case tells of; of both, their times add as squares (`soft`)."""
    if not _tells_both(row):
        reached = {"bandwidth": row["read_share"], "arithmetic": row["multiply_add_share"]}
        yield max(reached.items(), key=lambda item: item[1])
        return
    if row["warm_multiply_add_share"]:  # none of a kernel that only moves
        yield "arithmetic", row["warm_multiply_add_share"]
    computing = min(1.0, row["warm_seconds"] / row["seconds"])
    yield "bandwidth", row["read_share"] / max(WAITS, math.sqrt(1 - computing**2))


def _tells_both(row: Mapping[str, Any]) -> bool:
    """It reads more than it computes, and was also timed with all in a cache."""
    return row["warm_seconds"] is not None and row["read_share"] >= row["multiply_add_share"]


def _short(value: float) -> float:
    return float(f"{value:.3g}")
