"""Which cases nothing beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
LITTLE = 0.1  # of perplexity: what DIP's authors call nearly lossless


def within(found: Sequence[Row], memory: float) -> list[Row]:
    """Those with a share of memory."""
    return [row for row in found if row["memory"] == memory]


def compiled(found: Sequence[Row]) -> list[Row]:
    """Those of the model as it is: a static mask makes another one, whose weights have no order to
    be read by, and of which no index is counted."""
    return [row for row in found if row["sparsity"] != "static"]


def front(found: Sequence[Row]) -> list[Row]:
    """Those of which no other has less perplexity and reads no more; by what they read."""
    kept, best = list[Row](), float("inf")
    for row in sorted(found, key=lambda row: (row["flash_bytes_per_token"], row["perplexity"])):
        if row["perplexity"] < best:
            kept.append(row)
            best = row["perplexity"]
    return kept


def best_of(found: Sequence[Row], little: float = LITTLE) -> Row | None:
    """The fastest of the model whose perplexity rises by less, all that is streamed aside; None:
    there is none."""
    cheap = [r for r in compiled(found) if r["sparsity"] != "all" and r["rise"] < little]
    return max(cheap, key=lambda row: float(row["tokens_per_s"]), default=None)
