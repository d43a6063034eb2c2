"""Codes, scales and zero points as ONNX models store them, read by rows or columns when asked for.

4-bit codes lie two in a byte, the first in the low half (ONNX's int4 and uint4; ONNX Runtime's
uint8 blobs are the same). Signed codes become unsigned by adding half of all codes to code and zero
point: the weight, scale * (code - zero), stays the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from opencl_kernels.formats import Array

SIGNED = (ir.DataType.INT4, ir.DataType.INT8)
CODE_TYPES = (*SIGNED, ir.DataType.UINT4, ir.DataType.UINT8)
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
Rows = Callable[[int, int], Array]  # rows [first, stop) of a matrix


@dataclass(frozen=True)
class CodeMatrix:
    """A matrix [height, width] of codes in a tensor of bytes or of 4-bit integers."""

    tensor: ir.TensorProtocol
    height: int
    width: int
    bits: int

    @property
    def bytes(self) -> int:
        """So many bytes hold it."""
        return -(-self.height * self.width * self.bits // 8)

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis` as uint8, unsigned."""
        codes = self._rows(first, stop) if axis == 0 else self._columns(first, stop)
        return codes ^ np.uint8(1 << (self.bits - 1)) if self.tensor.dtype in SIGNED else codes

    def _rows(self, first: int, stop: int) -> Array:
        data, start, end = _data(self.tensor), first * self.width, stop * self.width
        if self.bits == 4:
            codes = _halves(data[start // 2 : -(-end // 2)])[start % 2 :][: end - start]
        else:
            codes = data[start:end]
        return codes.reshape(stop - first, self.width)

    def _columns(self, first: int, stop: int) -> Array:
        if self.bits == 8:
            return _data(self.tensor).reshape(self.height, -1)[:, first:stop]
        if self.width % 2:  # rows begin in the middle of a byte
            return self._rows(0, self.height)[:, first:stop]
        packed = _data(self.tensor).reshape(self.height, -1)[:, first // 2 : -(-stop // 2)]
        return _halves(packed)[:, first % 2 :][:, : stop - first]


def _data(tensor: ir.TensorProtocol) -> Array:
    """A tensor's bytes; `numpy()` would unpack 4-bit integers, all of them, and keep them."""
    if tensor.dtype.bitwidth == 8:
        return tensor.numpy().reshape(-1).view(np.uint8)
    if isinstance(tensor, ir.ExternalTensor):
        return np.memmap(tensor.path, np.uint8, "r", tensor.offset or 0, (tensor.nbytes,))
    return np.frombuffer(tensor.tobytes(), np.uint8)


def _halves(packed: Array) -> Array:
    """Two codes of each byte, the low half first, along the last axis."""
    codes = np.empty((*packed.shape[:-1], 2 * packed.shape[-1]), np.uint8)
    np.bitwise_and(packed, 15, out=codes[..., 0::2])
    np.right_shift(packed, 4, out=codes[..., 1::2])
    return codes


def float_rows(tensor: ir.TensorProtocol, height: int, width: int, axis: int) -> Rows:
    """Rows of scales [height, width], or of their transpose if `axis` is 1."""
    wide = tensor.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16)  # bfloat16

    def rows(first: int, stop: int) -> Array:
        if axis == 0:
            found = tensor.numpy().reshape(height, width)[first:stop]
        else:
            found = tensor.numpy().reshape(height, width)[:, first:stop].T
        return found.astype(np.float32) if wide else found

    return rows


def float_type(tensor: ir.TensorProtocol) -> str:
    """How scales of a tensor's type are stored; bfloat16 has its place in float32."""
    return "f16" if tensor.dtype == ir.DataType.FLOAT16 else "f32"


def code_rows(matrix: CodeMatrix, axis: int, width: int) -> Rows:
    """Rows of zero points [N, width], padded in the matrix, or transposed if `axis` is 1."""

    def rows(first: int, stop: int) -> Array:
        found = matrix.part(axis, first, stop)
        return (found if axis == 0 else found.T)[:, :width]

    return rows


def filled(value: int, groups: int) -> Rows:
    """One zero point for all groups of all rows."""
    return lambda first, stop: np.full((stop - first, groups), value, np.uint8)
