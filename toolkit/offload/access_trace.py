"""One JSON line a gather: what it selected, kept and read. Runner, twin and simulator agree."""

from __future__ import annotations

import json
from typing import Any

from toolkit.offload.machine import Outcome


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
