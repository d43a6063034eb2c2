"""One JSON line a gather: what it selected, kept and read. Runner, twin and simulator agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.offload.machine import Outcome
from toolkit.offload.selection import Array


def line(step: int, gather: int, outcome: Outcome) -> str:
    """The line, without its end."""
    return json.dumps(entry(step, gather, outcome), separators=(",", ":"))


def entry(step: int, gather: int, outcome: Outcome) -> dict[str, Any]:
    """The values of a line.

    t      step
    g      number of the gather within its phase
    sel    records selected, ascending
    hit    how many of them were resident
    admit  [record, slot] in the order of admission
    evict  records in the order of eviction
    runs   [offset, bytes] of each read, ascending
    read   bytes of all runs
    used   bytes of the records that were missing
    """
    return {
        "t": step,
        "g": gather,
        "sel": outcome.selected.tolist(),
        "hit": len(outcome.hits),
        "admit": outcome.admitted.tolist(),
        "evict": outcome.evicted.tolist(),
        "runs": outcome.runs.tolist(),
        "read": outcome.bytes_read,
        "used": outcome.bytes_used,
    }


class AccessTrace:
    """The lines in a file, and beside it, in `path`.scores, the f32 that each was chosen by."""

    def __init__(self, path: Path) -> None:
        self._lines = path.open("w")
        self._scores = path.with_name(f"{path.name}.scores").open("wb")

    def write(self, step: int, gather: int, outcome: Outcome, scores: Array | None) -> None:
        """One gather; what selects by ids, or all, has no scores."""
        self._lines.write(f"{line(step, gather, outcome)}\n")
        if scores is not None and scores.dtype == np.float32:
            self._scores.write(scores.tobytes())

    def close(self) -> None:
        """Write what has gathered."""
        self._lines.close()
        self._scores.close()
