"""Quantised weights, which are float tensors to every pass and to ONNX Runtime.

Passes transpose, merge and look at a `QuantizedTensor` as at any lazy initializer; only the weight
table of the plan asks for its codes, some rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx_ir as ir

from opencl_kernels.formats import Array, Quantized


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight W[N, K] in codes of 4 or 8 bits, made when it is asked for.

    make    rows [first, stop) of it
    scale   f32 or f16; zero: u8, f32 or f16, or None where it is half of all codes
    floats  the same rows before they were quantised, where that was done here
    origin  all of them: [K, N], as MatMul has it
    """

    N: int
    K: int
    bits: int
    group: int
    scale: str
    zero: str | None
    make: Callable[[int, int], Quantized]
    floats: Callable[[int, int], Array] | None = None
    origin: ir.TensorProtocol | None = field(default=None, repr=False)


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
