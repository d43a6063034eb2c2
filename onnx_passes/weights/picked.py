"""The outputs of a weight in another order, and the matrices of experts as one.

Experts [E, N, K] lie side by side as one matrix [K, E * N], so that what stores, quantises and
packs a matrix does it for all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnx_passes.weights.lazy import Concat, Lazy, part
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight
from onnx_passes.weights.stacked import stacked
from opencl_kernels.formats import Array, Quantized


class SideBySide(Lazy):
    """A tensor [E, N, K], or [E, K, N] if `turned`, as [K, E * N]."""

    def __init__(self, source: ir.TensorProtocol, turned: bool, name: str) -> None:
        experts, *sizes = source.shape.numpy()
        self.turned, (self.N, K) = turned, sizes[::-1] if turned else sizes
        super().__init__([source], source.dtype, (K, experts * self.N), name)

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""
        whole = self.sources[0].numpy()
        if axis == 0:
            some = whole[:, first:stop] if self.turned else whole[:, :, first:stop]
            return np.moveaxis(some, 1 if self.turned else 2, 0).reshape(stop - first, -1)
        if not self.turned:
            return whole.reshape(-1, whole.shape[2])[first:stop].T
        from_, to = first // self.N, -(-stop // self.N)
        some = np.moveaxis(whole[from_:to], 1, 0).reshape(whole.shape[1], -1)
        return some[:, first - from_ * self.N :][:, : stop - first]


class Picked(Lazy):
    """Columns of a matrix in an order of their own."""

    def __init__(self, source: ir.TensorProtocol, columns: Array, name: str) -> None:
        super().__init__([source], source.dtype, (source.shape.numpy()[0], len(columns)), name)
        self.columns = columns

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""
        if axis == 0:
            return part(self.sources[0], 0, first, stop)[:, self.columns]
        found = [
            part(self.sources[0], 1, run.start, run.stop)[:, :: run.step]
            for run in _runs(self.columns[first:stop])
        ]
        return np.concatenate(found, axis=1)


def picked(tensor: ir.TensorProtocol, columns: Array, name: str) -> ir.LazyTensor:
    """Columns of a weight [K, N] in this order; codes stay codes."""
    if not isinstance(tensor, QuantizedTensor):
        return Picked(tensor, columns, name)
    assert tensor.transposed
    return QuantizedTensor(_picked_rows(tensor.weight, columns), tensor.dtype, True, name)


def _picked_rows(weight: QuantizedWeight, rows: Array) -> QuantizedWeight:
    def make(first: int, stop: int) -> Quantized:
        parts = []
        for run in _runs(rows[first:stop]):
            made = weight.make(run.start, run.stop)
            arrays = made.codes_NK, made.scale_NG, made.zero_NG
            parts.append([None if a is None else a[:: run.step] for a in arrays])
        codes, scale, zero = zip(*parts, strict=True)
        joined = None if zero[0] is None else np.concatenate(zero)
        bits, group = weight.bits, weight.group
        return Quantized(np.concatenate(codes), np.concatenate(scale), joined, bits, group)

    form = weight.bits, weight.group, weight.scale, weight.zero
    return QuantizedWeight(len(rows), weight.K, *form, make)


def _runs(indices: Array) -> Iterator[range]:
    """The indices as ranges of equal, positive steps."""
    first = 0
    while first < len(indices):
        step = int(indices[first + 1] - indices[first]) if first + 1 < len(indices) else 1
        step = max(step, 1)
        steps = np.diff(indices[first:]) != step
        count = int(np.argmax(steps)) + 1 if steps.any() else len(indices) - first
        start = int(indices[first])
        yield range(start, start + (count - 1) * step + 1, step)
        first += count


def gates_before_ups(experts: int, width: int) -> Array:
    """The order of columns [E, width] in which each expert's even ones come before its odd ones."""
    one = np.concatenate([np.arange(0, width, 2), np.arange(1, width, 2)])
    order: Array = np.arange(experts)[:, None] * width + one
    return order.reshape(-1)


def joined_by_expert(
    gates: ir.TensorProtocol, ups: ir.TensorProtocol, experts: int, name: str
) -> ir.LazyTensor:
    """Two weights [K, E * F] as one [K, E * 2F]: each expert's gates, then its ups."""
    both, width = [gates, ups], gates.shape.numpy()[1] // experts
    first = np.arange(experts * width).reshape(experts, width)
    order = np.concatenate([first, first + experts * width], axis=1).reshape(-1)
    codes = [tensor for tensor in both if isinstance(tensor, QuantizedTensor)]
    if len(codes) == len(both):
        weight = stacked([tensor.weight for tensor in codes])
        assert weight is not None
        return picked(QuantizedTensor(weight, gates.dtype, True, name), order, name)
    return picked(Concat(both, name), order, name)
