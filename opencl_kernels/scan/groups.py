"""Groups of a row's elements, of which only the best keep theirs; the order of elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opencl_kernels.formats import Array


def order_of(x: Array, largest: bool) -> Array:
    """Places of elements in order along the last axis, by a stable sort; NaN comes first."""
    return np.asarray(np.lexsort((-x if largest else x, ~np.isnan(x)), axis=-1))


@dataclass(frozen=True)
class Groups:
    """Runs of equal length that a row is divided into, and which of them keep their elements."""

    count: int
    best: int  # a group counts what so many of its greatest elements are together
    kept: int  # groups, those that count most
    fill: str = "0.0"  # what the elements of all others become

    def of(self, x: Array, fill: float) -> Array:
        """Elements x [.., row] where only those of the kept groups are left, in numpy."""
        apart = x.reshape(*x.shape[:-1], self.count, -1)
        sums = np.take_along_axis(apart, order_of(apart, True)[..., : self.best], axis=-1).sum(-1)
        kept = np.zeros(sums.shape, np.bool_)
        np.put_along_axis(kept, order_of(sums, True)[..., : self.kept], True, axis=-1)
        return np.asarray(np.where(kept[..., None], apart, fill).reshape(x.shape))
