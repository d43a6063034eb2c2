"""What `pocketcl simulate MODEL` prints for people."""

from collections.abc import Iterator, Mapping, Sequence
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
    yield from _exchanges(figures["rows"])
    kept = f"{figures['weights']} on {figures['flash']}"
    yield f"Reads are of {kept}; memory holds that share of networks beside all other"
    yield "weights. What is fitted is fitted to the text's first half."


def _exchanges(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Whether densities by layer gained something on text that they were not chosen by."""
    keys = ("sparsity", "density", "memory", "policy", "refit")
    plain = {
        tuple(r[k] for k in keys): r["rise"] for r in found if not r["layers"] and r["gamma"] == 1
    }
    for row in found:
        if row["layers"]:
            before = plain[tuple(row[key] for key in keys)]
            words = ", ".join(f"{density:g}" for density in row["layers"])
            gained = row["rise"] < before
            verdict = (
                f"{before - row['rise']:.3f} less" if gained else "not gained: one for all stays"
            )
            yield f"Densities {words} in place of {row['density']:g}: perplexity {verdict}."


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Of a case, below HEADS."""
    whole = row["sparsity"] == "all"
    less = row["bytes_under_all"]
    return (
        row["sparsity"] + " refit" * row["refit"] + " exchanged" * bool(row["layers"]),
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
