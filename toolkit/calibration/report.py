"""What `pocketcl calibrate` prints for people."""

from collections.abc import Iterator, Mapping
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
    else:
        yield "No neuron of this model is ever zero: none is predicted."
    yield f"{out}: {facts['seconds']} s"
