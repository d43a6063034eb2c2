"""`bench --kernels --save NAME`: what kernels reach of a device's limits, kept for `estimate`."""

import datetime
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.devices.profiles import measured, write_measured

OTHER = "other"  # families that no case was measured of
Rows = Sequence[Mapping[str, Any]]


def save_profile(name: str, figures: Mapping[str, Any]) -> Path:
    """Add the figures of a device to the profile of this name, or make it."""
    earlier, found = measured(name), profile_of(figures, datetime.date.today())
    kernels = earlier.get("kernels", {}) | found["kernels"]
    return write_measured(name, earlier | found | {"kernels": kernels})


def profile_of(figures: Mapping[str, Any], day: datetime.date) -> dict[str, Any]:
    """The rates of a device, and of each family of kernels the median share of its cases."""
    rates = figures["rates"]
    shares = {key: [_limit(row) for row in rows] for key, rows in _grouped(figures["kernels"])}
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


def _limit(row: Mapping[str, Any]) -> tuple[str, float]:
    """The limit that a case is closer to, and the share of it."""
    name = "bandwidth" if row["read_share"] >= row["multiply_add_share"] else "arithmetic"
    return name, float(row["roof_share"])


def _entry(found: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """One limit: that of most cases; cases that meet the other one have no part in it."""
    name = statistics.mode(limit for limit, _ in found)
    share = statistics.median(share for limit, share in found if limit == name)
    return {name: _short(share)}


def _short(value: float) -> float:
    return float(f"{value:.3g}")
