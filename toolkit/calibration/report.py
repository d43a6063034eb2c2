"""What `pocketcl calibrate` prints for people."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.tables import section, table


def lines(out: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    """A line a layer, one for each operating point, and where it all lies."""
    heads = ("layer", "kind", "active", "rank", "predicted/active")
    keys = ("kind", "active", "rank", "predicted_over_true")
    rows = [(i, *(each.get(k, "-") for k in keys)) for i, each in enumerate(facts["layers"])]
    yield from section(f"neurons, by {facts['tokens']} tokens", table([heads, *rows]))
    points = [(p["recall"], p["density"], f"{100 * p['loss']:+.2f} %") for p in facts["points"]]
    if points:
        title = f"only what is predicted (perplexity {facts['perplexity']} with all)"
        yield from section(title, table([("recall", "computed", "perplexity"), *points]))
    elif facts.get("dip"):
        title = f"only what is greatest, DIP (perplexity {facts['perplexity']} with all)"
        yield from section(title, table(_pruned(facts["dip"])))
        if refitted := facts.get("refitted"):
            title = "the same with refitted last matrices, where that costs less"
            yield from section(title, table(_pruned(refitted)))
    else:
        yield "No neuron of this model is ever zero: none is predicted."
    yield f"{out}: {facts['seconds']} s"


def _pruned(points: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """A line for each density, a column for each gamma: its worst loss with any memory."""
    gammas = sorted({point["gamma"] for point in points}, reverse=True)
    yield ("density", *(f"gamma {gamma:g}" for gamma in gammas))
    for density in sorted({point["density"] for point in points}):
        found = [
            max(p["loss"] for p in points if (p["density"], p["gamma"]) == (density, gamma))
            for gamma in gammas
        ]
        yield (f"{density:g}", *(f"{100 * loss:+.2f} %" for loss in found))
