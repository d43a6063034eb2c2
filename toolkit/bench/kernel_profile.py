"""`bench --kernels --save NAME`: what kernels reach of a device's limits, kept for `estimate`."""

import datetime
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.devices.profiles import measured, write_measured

Rows = Sequence[Mapping[str, Any]]


def save_profile(name: str, figures: Mapping[str, Any]) -> Path:
    """Add the figures of a device to the profile of this name, or make it."""
    earlier, found = measured(name), profile_of(figures, datetime.date.today())
    kernels = earlier.get("kernels", {}) | found["kernels"]
    return write_measured(name, earlier | found | {"kernels": kernels})


def profile_of(figures: Mapping[str, Any], day: datetime.date) -> dict[str, Any]:
    """The rates of a device, and of each family of kernels the median share of its cases."""
    rates = figures["rates"]
    grouped = _grouped(figures["kernels"])
    shares = {key: [_limit(row, rates) for row in rows] for key, rows in grouped}
    return {
        "about": figures["device"],
        "class": figures["class"],
        "bandwidth_measured_gbs": _short(rates["read_gb_s"]),
        "fp32_tflops": _short(1e-3 * rates["multiply_add_gflop_s"]),
        "kernels": {key: _entry(each) for key, each in shares.items()},
        "source": f"S measured by pocketcl bench --kernels on {day}",
    }


def _grouped(rows: Rows) -> list[tuple[str, Rows]]:
    keys = dict.fromkeys(row["share_of"] for row in rows)
    return [(key, [row for row in rows if row["share_of"] == key]) for key in keys]


def _limit(row: Mapping[str, Any], rates: Mapping[str, float]) -> tuple[str, float]:
    """The limit that a case is closer to, and the share of it.

    Of the rates that the profile keeps, not of those around the case: on a machine whose rates
    change by the second, limit times share is what was reached all the same.
    """
    bandwidth = row["gb_s"] / rates["read_gb_s"]
    arithmetic = row["gflop_s"] / rates["multiply_add_gflop_s"]
    return max(("bandwidth", bandwidth), ("arithmetic", arithmetic), key=lambda each: each[1])


def _entry(found: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The median share of each limit, of the cases that are closer to it."""
    shares = {name: [share for limit, share in found if limit == name] for name, _ in found}
    return {name: _short(statistics.median(each)) for name, each in shares.items()}


def _short(value: float) -> float:
    return float(f"{value:.3g}")
