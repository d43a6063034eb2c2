"""What `pocketcl simulate` prints for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.tables import rate, section, size, table

HEADS = (
    *("memory", "records", "policy", "needed", "found", "missed", "/Belady", "reads"),
    *("read", "takes", "predicted", "perplexity"),
)

TOO_LONG = " *"


def lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """A line for each memory, selector and policy."""
    rows = figures["rows"]
    from_ = figures["text"] or figures["trace"]
    for selector in dict.fromkeys(each["selector"] for each in rows):
        found = [_cells(each) for each in rows if each["selector"] == selector]
        of = "" if selector == "plan" else ", only what isn't zero is needed (oracle)"
        title = f"simulated: {figures['tokens']} tokens of {from_}{of}, a token"
        yield from section(title, table([HEADS[: len(found[0])], *found]))
    yield f"Reads take as long as on {figures['flash']}; Belady's policy knows what comes."
    if figures["all_neurons_perplexity"] is not None:
        yield f"With all of its networks the perplexity is {figures['all_neurons_perplexity']:.4f}."
    if any(row["left_early"] for row in rows):
        yield f"{TOO_LONG.strip()} Its window had records that memory had no room for."
    if any(row["ahead_left_out"] for row in rows):
        yield "Reads are those of a run with --overlap off: nothing tells what would be read ahead."
    if any(row["ahead_records"] for row in rows):
        yield "What is read ahead is among reads (--json tells how much, and what wasn't needed)."
    if figures["unknown"] is not None:
        yield f"No rate is predicted: {figures['unknown']}."


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    over, predicted = row["misses_over_belady"], row["tokens_per_s"]
    return (
        size(row["memory"]),
        size(row["record_bytes"]),
        row["policy"] + (TOO_LONG if row["left_early"] else ""),
        f"{row['selected_per_token']:.0f}",
        f"{100 * row['hit_rate']:.1f} %",
        f"{row['misses_per_token']:.1f}",
        "-" if over is None else f"{over:.2f} x",
        f"{row['reads_per_token']:.1f}",
        size(round(row["flash_bytes_per_token"])),
        f"{1e3 * row['read_s_per_token']:.2f} ms",
        "-" if predicted is None else f"{rate(predicted)} tokens/s",
        *(() if row["perplexity"] is None else (f"{row['perplexity']:.4f}",)),
    )
