"""Which records a token needs: rules over one score an index, exact in float32.

The runner has the same rules in selectors.cpp: both choose the same indices to the last tie.
A NaN counts as 0 here; whoever checks the model's output reports it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import PocketError
from toolkit.plan.schema import Select

Array: TypeAlias = NDArray[Any]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


def at_point(rule: Select, number: float) -> Select:
    """The rule with a point's number for its gather: its k, or its threshold."""
    if rule.by in ("top", "ids"):
        return replace(rule, k=int(number))
    return replace(rule, threshold=number)


def select(rule: Select, scores: Array | None, count: int, resident: Bools) -> Ints:
    """Indices, ascending.

    Args:
        rule: Its numbers are rounded to float32 before they are compared.
        scores: f32[count], for `ids` i32 of any length, for `all` None.
        count: Of records.
        resident: bool[count] by index; only `top` looks at it, where gamma < 1.

    Raises:
        PocketError: An id is not below `count`.
    """
    if rule.by == "all":
        return np.arange(count)
    if rule.by == "ids":
        return _ids(np.asarray(scores), count)
    return np.flatnonzero(BY_SCORES[rule.by](rule, compared(rule, scores), resident))


def compared(rule: Select, scores: Array | None) -> Array:
    """What a rule over scores looks at, f32: no NaN, and sizes where it says so."""
    values = np.asarray(scores, np.float32)
    values = np.where(np.isnan(values), np.float32(0), values)
    return np.abs(values) if rule.magnitude else values


def _above(rule: Select, values: Array, resident: Bools) -> Array:
    return np.asarray(values > np.float32(rule.threshold))


def _nonzero(rule: Select, values: Array, resident: Bools) -> Array:
    return np.asarray(values != 0)


def _top(rule: Select, values: Array, resident: Bools) -> Array:
    sizes = np.abs(values)
    sizes = np.where(resident, sizes, sizes * np.float32(rule.gamma))
    return top_mask(sizes, rule.k)


def top_mask(sizes: Array, k: int) -> Bools:
    """The k greatest of f32 that are at least 0, ties to the lower index.

    Their bits as uint32 order as they do, which a device can compare without floats.
    """
    if k <= 0:
        return np.zeros(len(sizes), bool)
    if k >= len(sizes):
        return np.ones(len(sizes), bool)
    bits = sizes.view(np.uint32)
    least = np.partition(bits, len(bits) - k)[len(bits) - k]
    chosen = np.asarray(bits > least)
    chosen[np.flatnonzero(bits == least)[: k - int(chosen.sum())]] = True
    return chosen


def top_rows(sizes_TN: Array, k: int) -> Bools:
    """`top_mask` of each row, all at once."""
    count = sizes_TN.shape[1]
    if not 0 < k < count:
        return np.full(sizes_TN.shape, k > 0)
    bits = np.ascontiguousarray(sizes_TN, np.float32).view(np.uint32)
    least = np.partition(bits, count - k, axis=1)[:, count - k, None]
    chosen, tied = bits > least, bits == least
    room = k - chosen.sum(axis=1, keepdims=True)
    return np.asarray(chosen | (tied & (np.cumsum(tied, axis=1) <= room)))


def _ids(scores: Array, count: int) -> Ints:
    found = np.unique(scores.astype(np.int64))
    if len(found) and not 0 <= found[0] <= found[-1] < count:
        worst = found[0] if found[0] < 0 else found[-1]
        because = f"the table has records for 0 to {count - 1}"
        raise PocketError(f"id {worst} has no record", because, "compile the model again")
    return found


# Whether an index is chosen, by scores without NaN; `all` and `ids` have no such scores.
BY_SCORES: dict[str, Callable[[Select, Array, Bools], Array]] = {
    "above": _above,
    "top": _top,
    "nonzero": _nonzero,
}
