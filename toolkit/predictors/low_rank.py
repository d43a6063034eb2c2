"""A product of two thin matrices in place of a wide one, whose outputs change least.

The truncated SVD of W is the matrix of rank r nearest to W. What is wanted is the one whose outputs
are nearest, for inputs x with E[x xᵀ] = L Lᵀ:

    E |W x - B A x|² = |W L - B A L|²,    so    B = U S, A = Vᵀ L⁻¹ of the truncated SVD of W L

The SVD is a randomised one (Halko, Martinsson, Tropp 2011, algorithms 4.4 and 5.1): its cost grows
with the rank, not with the width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from opencl_kernels.formats import Array

OVERSAMPLED, POWERS = 16, 3  # columns beyond the rank, and rounds of power iteration


class Factors(NamedTuple):
    """W ~ B A: B [F, rank], A [rank, D], float32; the first r of both are those of rank r."""

    B: Array
    A: Array

    def first(self, rank: int) -> Factors:
        """Those of a lower rank."""
        return Factors(self.B[:, :rank], self.A[:rank])


def whitened(weight_FD: Array, root_DD: Array, rank: int) -> Factors:
    """Factors of W[F, D] for inputs whose second moment has the lower triangular root L[D, D].

    rank  at most min(F, D): a greater one is that
    """
    U, S, V = _svd(weight_FD.astype(np.float64) @ root_DD, rank)
    A = np.linalg.solve(root_DD.T, V.T).T  # Vᵀ L⁻¹
    return Factors((U * S).astype(np.float32), A.astype(np.float32))


def _svd(matrix: Array, rank: int) -> tuple[Array, Array, Array]:
    """U [F, r], S [r], Vᵀ [r, D]."""
    rank = min(rank, *matrix.shape)
    basis = _range(matrix, min(rank + OVERSAMPLED, *matrix.shape))
    U, S, V = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    return (basis @ U)[:, :rank], S[:rank], V[:rank]


def _range(matrix: Array, columns: int) -> Array:
    """An orthonormal basis of most of what a matrix reaches; the same one at each call."""
    start = np.random.default_rng(0).standard_normal((matrix.shape[1], columns))
    basis, _ = np.linalg.qr(matrix @ start)
    for _ in range(POWERS):
        other, _ = np.linalg.qr(matrix.T @ basis)
        basis, _ = np.linalg.qr(matrix @ other)
    return basis
