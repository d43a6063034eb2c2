"""Whether neurons of a text come again: a cache that follows it, against one that never changes.

With frequencies alone nothing beats keeping the most frequent neurons. A text whose neurons recur,
as those of one subject do, is served better by a cache that admits what has just been used.
"""

from __future__ import annotations

import numpy as np

from opencl_kernels.formats import Array
from toolkit.offload.policies import policy
from toolkit.offload.prediction.demand import PINNED
from toolkit.offload.record_cache import RecordCache
from toolkit.predictors.layer import Use

SHARES = (0.125, 0.25, 0.5, 0.75)  # of all neurons, that a cache has room for
ADMITTING = ("lfu", "window")  # as RECURRING of toolkit/offload/prediction/demand.py has them
TOKENS = 512  # of which the first half only fills it
KEPT = 128  # of the others, that a planner counts reads of


def split(active_TF: Array) -> tuple[Array, Array]:
    """Tokens that frequencies and orders are made from, and those behind them that are replayed.

    A text that comes later has other neurons: what is chosen by some tokens is judged by others.
    """
    count = min(TOKENS, len(active_TF) // 2)
    return active_TF[: len(active_TF) - count], active_TF[len(active_TF) - count :]


def use_of(active_TF: Array, frequency_F: Array | None = None) -> Use:
    """How neurons are needed, bool [T, F] of consecutive tokens.

    frequency_F  of more tokens, none of them replayed
    """
    fitted_TF, last_TF = split(active_TF)
    if frequency_F is None:
        frequency_F = fitted_TF.mean(axis=0, dtype=np.float64).astype(np.float32)
    judged_TF = last_TF[len(last_TF) // 2 :]
    kept = np.unique(np.linspace(0, len(judged_TF) - 1, min(KEPT, len(judged_TF))).astype(int))
    return Use(frequency_F, recurring(last_TF, frequency_F), judged_TF[kept])


def recurring(last_TF: Array, frequency_F: Array) -> Array:
    """Misses by the policies of ADMITTING per miss by `static`, float32 [n, 3]: share of slots,
    ratios.

    What never changes keeps the most frequent neurons of tokens before those that are replayed.

    last_TF      bool [T, F]: which neurons are needed, of consecutive tokens
    frequency_F  in which share of the tokens before them
    """
    order = np.argsort(-frequency_F, kind="stable")
    often = int((frequency_F > PINNED).sum())
    ordered_TF = last_TF[:, order]
    rows = [(0.0, *(1.0 for _ in ADMITTING))]
    for share in SHARES:
        rows.append((share, *(_ratio(name, ordered_TF, share, often) for name in ADMITTING)))
    return np.array(rows, np.float32)


def _ratio(name: str, active_TF: Array, share: float, often: int) -> float:
    count = active_TF.shape[1]
    cache, slots = RecordCache(count, policy(name)), int(share * count)
    cache.resize(slots, min(slots, often))
    misses, seen = 0, range(len(active_TF) // 2, len(active_TF))
    for step, row in enumerate(active_TF):
        done = cache.admit(np.flatnonzero(row), step)
        if step in seen:
            misses += len(done.admitted) + len(done.streamed)
    static = int(active_TF[seen.start :, slots:].sum())
    return misses / static if static else 1.0
