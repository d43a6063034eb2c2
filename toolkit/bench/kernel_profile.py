"""`bench --kernels --save NAME`: what kernels reach of a device's limits, kept for `estimate`."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.devices.profiles import measured, write_measured

Rows = Sequence[Mapping[str, Any]]


LIMITS = {"bandwidth": "bandwidth_measured_gbs", "arithmetic": "fp32_tflops"}  # a profile's


def save_profile(name: str, figures: Mapping[str, Any]) -> Path:
    """Add the figures of a device to the profile of this name, or make it.

    Shares of kernels that were measured before become shares of the new rates: what a kernel
    reached stays what it was.
    """
    earlier, found = measured(name), profile_of(figures, datetime.date.today())
    before = {key: _anew(each, earlier, found) for key, each in earlier.get("kernels", {}).items()}
    return write_measured(name, earlier | found | {"kernels": before | found["kernels"]})


def _anew(
    shares: Mapping[str, float], earlier: Mapping[str, Any], found: Mapping[str, Any]
) -> dict[str, float]:
    def ratio(limit: str) -> float:
        return float(earlier.get(LIMITS[limit], found[LIMITS[limit]]) / found[LIMITS[limit]])

    return {limit: _short(share * ratio(limit)) for limit, share in shares.items()}


def profile_of(figures: Mapping[str, Any], day: datetime.date) -> dict[str, Any]:
    """The rates of a device, and the shares that its kernels reach, by family."""
    rates = figures["rates"]
    return {
        "about": figures["device"],
        "class": figures["class"],
        "bandwidth_measured_gbs": _short(rates["read_gb_s"]),
        "fp32_tflops": _short(1e-3 * rates["multiply_add_gflop_s"]),
        "kernels": {key: _shares(rows, rates) for key, rows in _grouped(figures["kernels"])},
        "source": f"S measured by pocketcl bench --kernels on {day}",
    }


def _grouped(rows: Rows) -> list[tuple[str, Rows]]:
    keys = dict.fromkeys(row["share_of"] for row in rows)
    return [(key, [row for row in rows if row["share_of"] == key]) for key in keys]


def _shares(rows: Rows, rates: Mapping[str, float]) -> dict[str, float]:
    """Of each limit: what the cases that are closer to it do, over the time that they take.

    The limits are those that the profile keeps, not those around each case: where a machine's
    rates change by the second, limit times share is what was reached all the same.
    """
    done: dict[str, float] = {}
    taken: dict[str, float] = {}
    for row in rows:
        reached = {
            "bandwidth": row["gb_s"] / rates["read_gb_s"],
            "arithmetic": row["gflop_s"] / rates["multiply_add_gflop_s"],
        }
        limit = max(reached, key=lambda name: reached[name])
        taken[limit] = taken.get(limit, 0.0) + row["seconds"]
        done[limit] = done.get(limit, 0.0) + row["seconds"] * reached[limit]
    return {limit: _short(done[limit] / taken[limit]) for limit in done}


def _short(value: float) -> float:
    return float(f"{value:.3g}")
