"""Whether neurons of a text come again: a cache that follows it, against one that never changes.

With frequencies alone nothing beats keeping the most frequent neurons. A text whose neurons recur,
as those of one subject do, is served better by a cache that admits what has just been used.
"""

from __future__ import annotations

import numpy as np

from opencl_kernels.formats import Array
from toolkit.offload.planner import PINNED
from toolkit.offload.policies import policy
from toolkit.offload.record_cache import RecordCache

SHARES = (0.125, 0.25, 0.5, 0.75)  # of all neurons, that a cache has room for
TOKENS = 512  # of which the first half only fills it


def recurring(active_TF: Array) -> Array:
    """Misses by the policy `lfu` per miss by `static`, float32 [n, 2]: share of slots, ratio.

    What never changes keeps the most frequent neurons of the tokens before those that are replayed:
    a text that comes later has other ones, too.

    active  bool [T, F]: which neurons are needed, of consecutive tokens
    """
    count = min(TOKENS, len(active_TF) // 2)
    frequency_F = active_TF[: len(active_TF) - count].mean(axis=0)
    order = np.argsort(-frequency_F, kind="stable")
    last_TF = active_TF[len(active_TF) - count :, order]
    often = int((frequency_F > PINNED).sum())
    pairs = [(0.0, 1.0), *((share, _ratio(last_TF, share, often)) for share in SHARES)]
    return np.array(pairs, np.float32)


def _ratio(active_TF: Array, share: float, often: int) -> float:
    count = active_TF.shape[1]
    cache, slots = RecordCache(count, policy("lfu")), int(share * count)
    cache.resize(slots, min(slots, often))
    misses, seen = 0, range(len(active_TF) // 2, len(active_TF))
    for step, row in enumerate(active_TF):
        done = cache.admit(np.flatnonzero(row), step)
        if step in seen:
            misses += len(done.admitted) + len(done.streamed)
    static = int(active_TF[seen.start :, slots:].sum())
    return misses / static if static else 1.0
