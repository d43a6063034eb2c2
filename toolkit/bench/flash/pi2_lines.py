"""The ladder of PowerInfer-2 as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.bench.flash.ladder_lines import SAME, told_of
from toolkit.bench.flash.rungs import Row
from toolkit.tables import size, table

HEAD = (
    *("rung", "memory", "read a token", "reads", "hits", "missed", "P99", "waits", "token"),
    *("p50", "p90", "p99", "tokens/s", "", "gain"),
)


def lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """The rungs, and what they are worth together."""
    yield told_of(figures)
    yield from table([HEAD, *map(_line, figures["ladder"])])
    yield f"{figures['over_parts']:.2f} x parts; {SAME[figures['ids_equal']]}"
    most, room = size(figures["most_record_bytes"]), size(figures["record_bytes"])
    peak = figures["peak_rss_bytes"]
    yield f"records took at most {most} of {room}" + (f", peak memory {size(peak)}" if peak else "")


def _line(row: Row) -> tuple[str, ...]:
    shares = (row[key] for key in ("hit_rate", "miss_mean", "miss_p99", "io_share"))
    times = (row["seconds"], *(row["token_s"] or dict.fromkeys(("p50", "p90", "p99"))).values())
    return (
        row["rung"],
        size(row["memory"]),
        size(int(row["flash_bytes_per_token"])),
        f"{row['reads_per_token']:,.0f}",
        *("" if each is None else f"{each:.1%}" for each in shares),
        *("" if each is None else f"{1e3 * each:.1f} ms" for each in times),
        f"{row['tokens_per_s']:,.1f}",
        f"± {row['spread'] / 2:.0%}",
        "" if row["over_before"] is None else f"{row['over_before']:.2f} x",
    )
