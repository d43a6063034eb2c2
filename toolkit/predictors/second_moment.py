"""C = E[x xᵀ] of the inputs of a layer, added up as they come, and its root."""

from __future__ import annotations

import numpy as np

from opencl_kernels.formats import Array

RIDGE = 1e-4  # of the mean of the diagonal, added to it: directions that no text has shown


class SecondMoment:
    """The second moment of rows x[D]; memory for D x D float64 numbers, however many come."""

    def __init__(self, width: int) -> None:
        """Of no rows yet."""
        self._sum = np.zeros((width, width), np.float64)
        self.count = 0

    def add(self, x_MD: Array) -> None:
        """Some more rows."""
        rows = x_MD.astype(np.float64)
        self._sum += rows.T @ rows
        self.count += len(rows)

    @property
    def value(self) -> Array:
        """float64 [D, D]; the identity where nothing came."""
        return self._sum / self.count if self.count else np.eye(len(self._sum))

    def root(self) -> Array:
        """Lower triangular L with L Lᵀ = C + ridge, float64 [D, D]."""
        moment = self.value
        ridge = RIDGE * float(np.trace(moment)) / len(moment) + np.finfo(np.float32).tiny
        return np.linalg.cholesky(moment + ridge * np.eye(len(moment)))
