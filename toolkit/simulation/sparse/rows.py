"""Figures of cases for `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.calibration.sparse.case import Case, Judged
from toolkit.simulation.sparse.clock import Clock, Sizes

Row = dict[str, Any]


def rows(
    cases: Sequence[Case], found: Sequence[Sequence[Judged]], clocks: Sequence[Clock], sizes: Sizes
) -> list[Row]:
    """One a case; what stands `over_all` is against the whole networks with the same memory.

    memory, record_bytes   share of networks, and bytes of all: weights, keys and values
    layers                 densities by layer, where they differ
    perplexity, rise       of the judged text; against that of the whole networks
    hit_rate               the mean over products and tokens, as DIP's authors count
    hit_rate_bytes         the share of bytes; `hits_by_layer`: by table, of each layer
    flash_bytes_per_token  `flash_share`: of all bytes of networks
    tokens_per_s           simulated; `rate_over_all`
    """
    made = [_row(*each, sizes) for each in zip(cases, found, clocks, strict=True)]
    whole = {row["memory"]: row for row in made if row["sparsity"] == "all"}
    for row in made:
        of = whole[row["memory"]]
        row["rise"] = row["perplexity"] - of["perplexity"]
        row["rate_over_all"] = row["tokens_per_s"] / of["tokens_per_s"]
        read, all_ = row["flash_bytes_per_token"], of["flash_bytes_per_token"]
        row["bytes_under_all"] = all_ / read if read else None
    return made


def _row(case: Case, windows: Sequence[Judged], clock: Clock, sizes: Sizes) -> Row:
    nats = np.concatenate([window.nats for window in windows if window.nats is not None])
    rates, tokens = clock.rates(case.memory), sum(len(window.ids) for window in windows)
    missed = sum(window.missed for window in windows) / tokens
    taken = sum(window.taken for window in windows) / tokens
    return {
        "sparsity": case.sparsity,
        "density": case.density,
        "gamma": case.gamma,
        "memory": case.memory,
        "policy": case.policy,
        "refit": case.refit,
        "layers": list(case.layers),
        "memory_bytes": round(sizes.memory(case.memory)),
        "perplexity": float(np.exp(nats.mean())),
        "hit_rate": float(np.mean([window.hit_rate for window in windows])),
        "hit_rate_bytes": 1 - missed / taken if taken else 1.0,
        "hits_by_layer": {
            name: np.mean([window.hits[name] for window in windows], axis=0).tolist()
            for name in windows[0].hits
        },
        "flash_bytes_per_token": missed * sizes.precision,
        "flash_share": missed / sizes.networks,
        "taken_share": taken / sizes.networks,
        "tokens_per_s": rates.tokens_per_s,
    }
