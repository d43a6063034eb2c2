"""What `pocketcl simulate MODEL` prints for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.tables import rate, section, size, table

HEADS = (
    *("sparsity", "density", "gamma", "memory", "policy", "perplexity", "", "found"),
    *("read", "", "simulated", ""),
)


def lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """A line for each case, and how they were found."""
    about = f"{figures['tokens']} tokens of {figures['text']}"
    found = [HEADS, *(cells(row) for row in figures["rows"])]
    yield from section(f"simulated: {about}, a token", table(found))
    kept = f"{figures['weights']} on {figures['flash']}"
    yield f"Reads are of {kept}; memory holds that share of networks beside all other"
    yield "weights. What is fitted is fitted to the text's first half."


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Of a case, below HEADS."""
    whole = row["sparsity"] == "all"
    less = row["bytes_under_all"]
    return (
        f"{row['sparsity']} refit" if row["refit"] else row["sparsity"],
        "" if whole else f"{row['density']:g}",
        "" if whole else f"{row['gamma']:g}",
        f"{100 * row['memory']:g} %",
        "" if whole else row["policy"],
        f"{row['perplexity']:.3f}",
        "" if whole else f"{row['rise']:+.3f}",
        f"{100 * row['hit_rate']:.1f} %",
        size(round(row["flash_bytes_per_token"])),
        "" if whole or less is None else f"1/{less:.2f}",
        f"{rate(row['tokens_per_s'])} tokens/s",
        "" if whole else f"{row['rate_over_all']:.2f} x",
    )
