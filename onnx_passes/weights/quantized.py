"""Quantised weights, which are float tensors to every pass and to ONNX Runtime.

Passes transpose, merge and look at a `QuantizedTensor` as at any lazy initializer; only the weight
table of the plan asks for its codes, some rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from opencl_kernels.formats import Array, Coded, numpy_dtype


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight W[N, K] in codes of 4 or 8 bits, made when it is asked for.

    make    rows [first, stop) of it
    scale   f32 or f16; zero: u8, f32 or f16, or None where it is half of all codes
    floats  the same rows before they were quantised, where that was done here
    """

    N: int
    K: int
    bits: int
    group: int
    scale: str
    zero: str | None
    make: Callable[[int, int], Coded]
    floats: Callable[[int, int], Array] | None = None


class QuantizedTensor(ir.LazyTensor):
    """A `QuantizedWeight` as floats: [K, N] if `transposed` (as MatMul has it), else [N, K]."""

    def __init__(
        self, weight: QuantizedWeight, dtype: ir.DataType, transposed: bool, name: str | None = None
    ) -> None:
        shape = [weight.K, weight.N] if transposed else [weight.N, weight.K]
        super().__init__(self._values, dtype=dtype, shape=ir.Shape(shape), name=name)
        self.weight, self.transposed = weight, transposed

    def _values(self) -> ir.TensorProtocol:
        values_NK = self.weight.make(0, self.weight.N).values().astype(self.dtype.numpy())
        return ir.tensor(values_NK.T if self.transposed else values_NK)

    def transpose(self, name: str) -> QuantizedTensor:
        """Its transpose."""
        return QuantizedTensor(self.weight, self.dtype, not self.transposed, name)

    def cast(self, dtype: ir.DataType, name: str) -> QuantizedTensor:
        """The same codes, read as another type of floats."""
        return QuantizedTensor(self.weight, dtype, self.transposed, name)


def quantized(value: ir.Value | None) -> QuantizedTensor | None:
    """The quantised tensor of an initializer, or None."""
    tensor = None if value is None else value.const_value
    return tensor if isinstance(tensor, QuantizedTensor) else None


def stacked(weights: Sequence[QuantizedWeight]) -> QuantizedWeight | None:
    """Weights of equal depth as one, rows below rows; None where their depths differ.

    No value changes: 4 bits among 8 get wider words, coarse groups repeat their scale, scales and
    zero points take the widest type among them, and a zero point that was understood is written
    out where others have one.
    """
    if len({w.K for w in weights}) != 1:
        return None
    bits, group = max(w.bits for w in weights), min(w.group for w in weights)
    scale = _widest(w.scale for w in weights)
    zeros = [w.zero for w in weights] + (["u8"] if len({w.bits for w in weights}) > 1 else [])
    zero = _widest(zeros)
    starts = np.cumsum([0, *(w.N for w in weights)]).tolist()

    def make(first: int, stop: int) -> Coded:
        parts = [
            _widened(w.make(max(first, a) - a, min(stop, b) - a), bits, group, scale, zero)
            for w, a, b in zip(weights, starts, starts[1:], strict=False)
            if max(first, a) < min(stop, b)
        ]
        zeros_NG = None if zero is None else np.concatenate([_zero(p) for p in parts])
        codes = np.concatenate([p.codes_NK for p in parts])
        return Coded(codes, np.concatenate([p.scale_NG for p in parts]), zeros_NG, bits, group)

    return QuantizedWeight(starts[-1], weights[0].K, bits, group, scale or "f32", zero, make)


def _widest(types: Iterable[str | None]) -> str | None:
    """The type that holds all the others exactly."""
    return max(types, key=(None, "u8", "f16", "f32").index)


def _widened(part: Coded, bits: int, group: int, scale: str | None, zero: str | None) -> Coded:
    """The same weight with `bits` and `group`, its zero points written out if `zero`."""
    groups = -(-part.codes_NK.shape[1] // group)

    def finer(per_group: np.ndarray, dtype: str) -> np.ndarray:
        wide = np.repeat(per_group.astype(numpy_dtype(dtype)), part.group // group, axis=1)
        return wide[:, :groups]

    zeros = part.zero_NG
    if zeros is None and zero is not None:
        zeros = np.full(part.scale_NG.shape, 2 ** (part.bits - 1), np.uint8)
    zeros = None if zeros is None or zero is None else finer(zeros, zero)
    return Coded(part.codes_NK, finer(part.scale_NG, scale or "f32"), zeros, bits, group)


def _zero(part: Coded) -> np.ndarray:
    assert part.zero_NG is not None
    return part.zero_NG
