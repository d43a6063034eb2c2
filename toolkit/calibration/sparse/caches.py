"""What the tokens of a text choose from a table, and what of it they find in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from opencl_kernels.formats import Array
from toolkit.offload.policies import Ints, policy
from toolkit.offload.record_cache import FREE, RecordCache
from toolkit.offload.selection import select, top_rows
from toolkit.plan.schema import Select


@dataclass(frozen=True)
class Cache:
    """The slots of a table at the start of a text.

    order   the index of each record: the most frequent first
    slots   records that there is room for
    policy  `static`: the first ones stay; others begin empty, as DIP's authors count
    """

    order: Ints
    slots: int
    policy: str = "static"

    @cached_property
    def record_of(self) -> Ints:
        """The record of each index."""
        return np.argsort(self.order)

    @property
    def fixed(self) -> Array | None:
        """Bool by index: what lies in memory whatever comes; None: that changes."""
        if policy(self.policy).admits and 0 < self.slots < len(self.order):
            return None
        return np.asarray(self.record_of < self.slots)

    def empty(self) -> RecordCache:
        """Before the first token."""
        return RecordCache(len(self.order), policy(self.policy))


@dataclass(frozen=True)
class Chosen:
    """Of the tokens of a window: what is computed, by index, and what had to be read, by record."""

    mask_TN: Array
    missing_TN: Array


def chosen(scores_TN: Array, k: int, gamma: float, cache: Cache) -> Chosen:
    """The k greatest magnitudes of each token, those of what isn't in memory times gamma.

    DIP-CA's rule (arXiv 2412.01380): one top-k over all, by what the cache has before the token.
    """
    sizes = np.abs(np.nan_to_num(scores_TN.astype(np.float32), nan=0.0))
    fixed = cache.fixed
    if fixed is not None:
        mask = top_rows(np.where(fixed, sizes, sizes * np.float32(gamma)), k)
        return Chosen(mask, (mask & ~fixed)[:, cache.order])
    if gamma == 1:
        mask = top_rows(sizes, k)
        return Chosen(mask, followed(mask, cache))
    return _aware(sizes, k, gamma, cache)


def followed(mask_TN: Array, cache: Cache) -> Array:
    """What had to be read, by record, where the masks are known whatever lies in memory."""
    fixed, wanted_TN = cache.fixed, mask_TN[:, cache.order]
    if fixed is not None:
        return np.asarray(wanted_TN & ~fixed[cache.order])
    held, missing = cache.empty(), np.zeros_like(wanted_TN)
    held.resize(cache.slots, 0)
    for step, row in enumerate(wanted_TN):
        _note(held, np.flatnonzero(row), step, missing)
    return missing


def _aware(sizes_TN: Array, k: int, gamma: float, cache: Cache) -> Chosen:
    """Token by token: what one chooses changes what the next finds."""
    held, rule = cache.empty(), Select("top", ("scratch", 0), k=k, gamma=gamma)
    held.resize(cache.slots, 0)
    mask, missing = np.zeros(sizes_TN.shape, bool), np.zeros(sizes_TN.shape, bool)
    for step, sizes in enumerate(sizes_TN):
        near = held.slot_of[cache.record_of] != FREE
        found = select(rule, sizes, len(sizes), near)
        mask[step, found] = True
        _note(held, np.sort(cache.record_of[found]), step, missing)
    return Chosen(mask, missing)


def _note(held: RecordCache, records: Ints, step: int, missing_TN: Array) -> None:
    missing_TN[step, records[held.slot_of[records] == FREE]] = True
    held.admit(records, step)
