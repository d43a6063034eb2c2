"""A ladder as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.bench.flash.rungs import Row
from toolkit.tables import size, table

SAME = {
    True: "the same ids as with all records in memory",
    False: "ids differ from those with all records in memory",
}


def lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """The rungs, what the last one is worth, and what joining reads is."""
    yield told_of(figures)
    yield from rung_lines(figures["ladder"])
    ratios = f"{figures['over_naive']:.2f} x naive, {figures['over_hybrid']:.2f} x hybrid"
    yield f"{ratios}; {SAME[figures['ids_equal']]}"
    if figures["peak_rss_bytes"]:
        yield f"peak memory {size(figures['peak_rss_bytes'])}"
    yield from coalescing_lines(figures["coalescing"])


def told_of(figures: Mapping[str, Any]) -> str:
    """What ran, how often, and how well a flash was imitated."""
    late = f"{figures['flash']} imitated, late {figures['late_share']:.1%}"
    often = f"{figures['repeats']} repeats of {figures['new_tokens']} tokens"
    return f"{figures['device']}, {often}, flash {late}"


def rung_lines(rows: Sequence[Row]) -> list[str]:
    """A table, one row for each rung."""
    head = ("rung", "memory", "read a token", "reads", "I/O", "compute", "token", "tokens/s", "")
    return table([(*head, "I/O by"), *map(_line, rows)])


def _line(row: Row) -> tuple[str, ...]:
    parts = (row["io_s"], row["compute_s"], row["seconds"])
    return (
        row["rung"],
        size(row["memory"]),
        size(int(row["flash_bytes_per_token"])),
        f"{row['reads_per_token']:,.0f}",
        *("" if each is None else f"{1e3 * each:.1f} ms" for each in parts),
        f"{row['tokens_per_s']:,.1f}",
        f"± {row['spread'] / 2:.0%}",
        row["io"],
    )


def coalescing_lines(rows: Sequence[Row]) -> Iterator[str]:
    """What joining reads brings, and how large they are then."""
    for few, more in zip(rows[::2], rows[1::2], strict=True):
        kept = "with records in memory" if few["kept"] else "with none in memory"
        share = f"{more['io_s'] / few['io_s']:.2f} of the time" if few["io_s"] else "nothing read"
        yield f"{kept}, reads up to {more['gap'] // 1024} KB apart joined: {share}"
        for row in (few, more):
            nbytes = size(int(row["flash_bytes_per_token"]))
            read = f"{row['reads_per_token']:,.0f} reads, {nbytes}, {1e3 * row['io_s']:.1f} ms"
            yield f"  gap {row['gap'] // 1024:>3} KB  {read}: {_sizes(row)}"


def _sizes(row: Row) -> str:
    """A histogram by powers of two: 4 KB 61 %, 8 KB 20 %."""
    total, found = sum(row["read_sizes"].values()), dict[int, int]()
    for nbytes, count in row["read_sizes"].items():
        bin_ = 1 << (int(nbytes) - 1).bit_length()
        found[bin_] = found.get(bin_, 0) + count
    shares = (f"≤ {at // 1024} KB {n / total:.0%}" for at, n in sorted(found.items()))
    return ", ".join(shares)
