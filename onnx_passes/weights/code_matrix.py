"""Codes, scales and zero points as ONNX models store them, read by rows or columns when asked for.

Codes of 4 bits lie two in a byte and of 2 bits four, the first in the lowest bits (ONNX's int4 and
uint2 and their kin; ONNX Runtime's uint8 blobs are the same). Signed codes become unsigned by
adding half of all codes to code and zero point: the weight, scale * (code - zero), stays the same
to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from opencl_kernels.formats import Array

SIGNED = (ir.DataType.INT2, ir.DataType.INT4, ir.DataType.INT8)
CODE_TYPES = (*SIGNED, ir.DataType.UINT2, ir.DataType.UINT4, ir.DataType.UINT8)
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
Rows = Callable[[int, int], Array]  # rows [first, stop) of a matrix


@dataclass(frozen=True)
class CodeMatrix:
    """A matrix [height, width] of codes in a tensor of bytes or of narrower integers."""

    tensor: ir.TensorProtocol
    height: int
    width: int
    bits: int

    @property
    def bytes(self) -> int:
        """So many bytes hold it."""
        return -(-self.height * self.width * self.bits // 8)

    @property
    def _each(self) -> int:
        """Codes of a byte."""
        return 8 // self.bits

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis` as uint8, unsigned."""
        codes = self._rows(first, stop) if axis == 0 else self._columns(first, stop)
        return codes ^ np.uint8(1 << (self.bits - 1)) if self.tensor.dtype in SIGNED else codes

    def _rows(self, first: int, stop: int) -> Array:
        data, start, end = _data(self.tensor), first * self.width, stop * self.width
        codes = self._within(data, start, end)
        return codes.reshape(stop - first, self.width)

    def _columns(self, first: int, stop: int) -> Array:
        if self.width % self._each:  # rows begin in the middle of a byte
            return self._rows(0, self.height)[:, first:stop]
        return self._within(_data(self.tensor).reshape(self.height, -1), first, stop)

    def _within(self, packed: Array, first: int, stop: int) -> Array:
        """Codes [first, stop) of those that lie along the last axis of bytes."""
        each = self._each
        whole = packed[..., first // each : -(-stop // each)]
        codes = whole if each == 1 else _unpacked(whole, self.bits)
        return codes[..., first % each :][..., : stop - first]


def _data(tensor: ir.TensorProtocol) -> Array:
    """A tensor's bytes; `numpy()` would unpack narrow integers, all of them, and keep them."""
    if tensor.dtype.bitwidth == 8:
        return tensor.numpy().reshape(-1).view(np.uint8)
    if isinstance(tensor, ir.ExternalTensor):
        return np.memmap(tensor.path, np.uint8, "r", tensor.offset or 0, (tensor.nbytes,))
    return np.frombuffer(tensor.tobytes(), np.uint8)


def _unpacked(packed: Array, bits: int) -> Array:
    """The codes of each byte, the lowest bits first, along the last axis."""
    each = 8 // bits
    codes = np.empty((*packed.shape[:-1], each * packed.shape[-1]), np.uint8)
    for i in range(each):
        np.right_shift(packed, i * bits, out=codes[..., i::each])
    codes &= np.uint8(2**bits - 1)
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
