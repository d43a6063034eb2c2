"""Figures of a case for `--json`."""

from __future__ import annotations

from typing import Any

from toolkit.plan.table_figures import slot_bytes
from toolkit.simulation.known import WINDOWED, Case, Known
from toolkit.simulation.replay import Replayed

COUNTS = ("selected", "hits", "reads", "read_bytes", "used_bytes")  # of all steps


def row(
    known: Known,
    case: Case,
    sums: Replayed,
    tokens: int,
    belady: Replayed | None,
    perplexity: float | None = None,
) -> dict[str, Any]:
    """Figures of a case; rates and what ends in `_per_token` are of steps of one token.

    left_early            records of a window that memory had no room for; None: there is none
    memory, record_bytes  of all, and of the records in it
    selected … used_bytes  of all steps; `opening_bytes`: read before the first
    read_s_per_token      of the flash alone
    tokens_per_s          predicted; None where the device's speed is not known
    ahead_records         records that prefetches read, `ahead_needed` of which were then asked for,
                          `ahead_wasted` not; `ahead_bytes` of their reads, among `read_bytes`
    ahead_left_out        whether a run would read ahead of networks, and nothing tells by what:
                          then hits and misses are its own, but reads those with `--overlap off`
    misses_over_belady    None where that policy isn't replayed
    perplexity            of the text, where networks are computed in part, and it was read
    """
    every, once = sums.tokens + sums.others, max(1, tokens)
    misses, of_token = sums.tokens.selected - sums.tokens.hits, sums.tokens
    seconds = known.costs.rest + of_token.seconds / once
    counts = {key: getattr(every, key) for key in COUNTS}
    least = None if belady is None else belady.tokens.selected - belady.tokens.hits
    return {
        "memory": case.point.memory,
        "record_bytes": slot_bytes(known.plan, case.point.slots),
        "policy": case.kept_by,
        "selector": case.selector,
        **counts,
        "ahead_records": every.ahead,
        "ahead_needed": every.ahead_needed,
        "ahead_wasted": every.ahead - every.ahead_needed,
        "ahead_bytes": every.ahead_bytes,
        "ahead_left_out": not every.prefetches and any(h.most(case.point) for h in known.tables),
        "left_early": every.left_early if case.policy in WINDOWED else None,
        "opening_bytes": sums.opening.read_bytes,
        "hit_rate": of_token.hits / of_token.selected if of_token.selected else 1.0,
        "selected_per_token": of_token.selected / once,
        "misses_per_token": misses / once,
        "misses_over_belady": None if not least else misses / least,
        "reads_per_token": of_token.reads / once,
        "flash_bytes_per_token": of_token.read_bytes / once,
        "flash_used_bytes_per_token": of_token.used_bytes / once,
        "read_s_per_token": of_token.read_s / once,
        "perplexity": perplexity,
        "tokens_per_s": None if known.unknown is not None or not tokens else 1 / seconds,
    }
