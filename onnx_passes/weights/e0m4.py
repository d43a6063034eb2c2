"""E0M4: a weight in codes of 4 bits, rounded so that the outputs of its matmul change least.

w = scale * (code - zero) with a scale (float16) and a zero point (0 .. 15) per group along K: the
affine grid of Transformer-Lite (Li et al. 2024, section 3.3). For each group several ranges are
tried, from narrower than the weights' own, which clips outliers, to wider; each gives codes, and
for given codes the best scale is a least-squares fit whose error is known without trying it:

    scale = sum(g w c) / sum(g c^2),    error = sum(g w^2) - sum(g w c)^2 / sum(g c^2)

c is code - zero, and g what an error in column k counts. After an RMSNorm, inputs of column k have
a mean square near gamma_k^2: with g = gamma^2 it is the error of the outputs that is made small
(the idea of AWQ, Lin et al. 2023, without its calibration data). Elsewhere g = 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from opencl_kernels.formats import Array, Quantized

BITS, TOP = 4, np.float32(15)
SHRINK = np.linspace(0.7, 1.1, 9, dtype=np.float32)  # of a group's range; within 0.2 % of 180 tries
CHUNK = 65536  # elements that are quantised at a time: they stay in the cache
LEAST = np.float32(1e-3)  # of the mean: so much an error counts anywhere
HALF_MAX, HALF_NORMAL = np.float32(65504), np.float32(2**-14)


class Unquantizable(ValueError):
    """A weight that has no codes."""


class NotFinite(Unquantizable):
    """A weight that has no value as a float either."""


def quantize(
    weight_NK: Array, group: int, importance_K: Array | None = None, symmetric: bool = False
) -> Quantized:
    """W[N, K] in codes; `importance_K`: what a squared error in each column counts.

    Rows are independent of each other. Symmetric codes have no zero points: 8 stands for zero, and
    a scale may be negative, so that the largest weight takes the code 0. Raises Unquantizable where
    weights are NaN, infinite or too large for a scale in float16.
    """
    N, K = weight_NK.shape
    groups = -(-K // group)
    step = max(1, CHUNK // (groups * group))
    parts = [
        _rows(weight_NK[first : first + step], group, groups, importance_K, symmetric)
        for first in range(0, N, step)
    ]
    codes, scale, zero = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Quantized(codes, scale, None if symmetric else zero, BITS, group)


def _rows(
    rows_NK: Array, group: int, groups: int, importance_K: Array | None, symmetric: bool
) -> tuple[Array, Array, Array]:
    """Codes [n, K], scales and zero points [n, G] of a few rows."""
    n, K = rows_NK.shape
    weights = _by_group(rows_NK, group, groups)
    _check(weights)
    counts = None
    if importance_K is not None:
        floor = LEAST * importance_K.mean() + np.finfo(np.float32).tiny
        one = _by_group(np.maximum(importance_K, floor)[None], group, groups)
        counts = np.tile(one, n)
    search = _Search(weights, counts)
    for scale, zero in _symmetric(weights) if symmetric else _affine(weights):
        search.attempt(scale, zero)
    search.attempt(search.scale.copy(), search.zero.copy())  # codes of the fitted scale
    scale = _half(search.scale)
    codes = search.codes(scale.astype(np.float32), search.zero) + search.zero
    codes_NK = codes.reshape(group, n, groups).transpose(1, 2, 0).reshape(n, -1)[:, :K]
    per_group = scale.reshape(n, groups), search.zero.astype(np.uint8).reshape(n, groups)
    return codes_NK.astype(np.uint8), *per_group


def _by_group(rows_NK: Array, group: int, groups: int) -> Array:
    """[n, K] -> float32 [group, n * G], so that operations run over many groups; tails are 0."""
    n, K = rows_NK.shape
    full = np.zeros((n, groups * group), np.float32)
    full[:, :K] = rows_NK
    return np.ascontiguousarray(full.reshape(n * groups, group).T)


def _check(weights: Array) -> None:
    largest = float(np.abs(weights).max(initial=0))
    if not np.isfinite(largest):
        raise NotFinite("it has weights that are NaN or infinite")
    if largest * 2 * SHRINK[-1] / 8 > HALF_MAX:
        raise Unquantizable(f"a weight of {largest:.3g} needs a scale beyond float16")


def _affine(weights: Array) -> Iterator[tuple[Array, Array]]:
    """(scale, zero point) of every try: ranges about the middle of a group's weights and 0."""
    low, high = weights.min(axis=0), weights.max(axis=0)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    for shrink in SHRINK:
        scale = (high - low) * (shrink / TOP)
        middle = (low + high) / np.where(scale == 0, 1, 2 * scale)
        yield scale, np.clip(np.rint(TOP / 2 - middle), 0, TOP)


def _symmetric(weights: Array) -> Iterator[tuple[Array, Array]]:
    low, high = weights.min(axis=0), weights.max(axis=0)
    largest = np.where(-low > high, low, high)
    for shrink in SHRINK:
        yield largest * (shrink / np.float32(-8)), np.full_like(largest, 8)


class _Search:
    """The best scale and zero point so far of each of m groups; weights are [group, m]."""

    def __init__(self, weights: Array, counts: Array | None) -> None:
        self.weights, self.counts = weights, counts
        self.counted = weights if counts is None else weights * counts
        self.gain = np.full(weights.shape[1], -1, np.float32)  # how much error codes take away
        self.scale, self.zero = np.zeros_like(self.gain), np.zeros_like(self.gain)
        self._c, self._gc = np.empty_like(weights), np.empty_like(weights)

    def codes(self, scale: Array, zero: Array) -> Array:
        """code - zero of every weight."""
        c, inverse = self._c, np.zeros_like(scale)
        np.divide(1, scale, out=inverse, where=np.abs(scale) > np.finfo(np.float32).tiny)
        np.multiply(self.weights, inverse, out=c)
        np.rint(c, out=c)
        np.maximum(c, -zero, out=c)
        return np.minimum(c, TOP - zero, out=c)

    def attempt(self, scale: Array, zero: Array) -> None:
        """Where these codes, with their best scale, are better than the best so far: keep them."""
        c = self.codes(scale, zero)
        gc = c if self.counts is None else np.multiply(c, self.counts, out=self._gc)
        product, square = (np.einsum("gm,gm->m", *pair) for pair in ((c, self.counted), (gc, c)))
        fitted = np.divide(product, square, out=np.zeros_like(product), where=square > 0)
        gain = fitted * product
        better = gain > self.gain
        for best, new in ((self.gain, gain), (self.scale, fitted), (self.zero, zero)):
            np.copyto(best, new, where=better)


def _half(scale: Array) -> Array:
    """Scales in float16: to the nearest, but subnormal ones away from zero, so that none clips."""
    half = scale.astype(np.float16)
    short = (np.abs(half.astype(np.float32)) < np.abs(scale)) & (np.abs(scale) < HALF_NORMAL)
    away = np.copysign(np.float16(np.inf), scale.astype(np.float16))
    return np.where(short, np.nextafter(half, away), half)
