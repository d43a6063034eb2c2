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

from onnx_passes.ir.graph import GraphError, attribute, integers, needed, producer
from onnx_passes.weights.quantized import CodedWeight
from opencl_kernels.formats import GROUPS, Array, Coded

SIGNED = (ir.DataType.INT4, ir.DataType.INT8)
CODES = (*SIGNED, ir.DataType.UINT4, ir.DataType.UINT8)
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
Rows = Callable[[int, int], Array]  # rows [first, stop) of a matrix
AGAIN = "export or quantise the model again"


def fault(node: ir.Node, because: str, hint: str = AGAIN) -> GraphError:
    """The error of a quantised node that cannot be read."""
    what = f"the quantised weight of {node.name or node.outputs[0].name} ({node.op_type})"
    return GraphError(f"{what} cannot be read", because, hint)


def whole(node: ir.Node, name: str, default: int) -> int:
    """An attribute that must be an integer; the checker does not know ONNX Runtime's ops."""
    value = attribute(node, name, default)
    if type(value) is not int:
        raise fault(node, f"its attribute {name} is {value!r}, which is no integer")
    return value


def stored(value: ir.Value | None) -> tuple[ir.TensorProtocol, tuple[int, ...]] | None:
    """A constant and its shape, looked at through Reshape and Identity; None where it is none."""
    if value is None:
        return None
    node = producer(value, "Reshape", "Identity")
    if node is None:
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else (tensor, tuple(tensor.shape.numpy()))
    found = stored(needed(node, 0))
    target = integers(needed(node, 1)) if node.op_type == "Reshape" else None
    if found is None or node.op_type == "Identity":
        return found
    return None if target is None else (found[0], _reshaped(found[1], target, node))


def _reshaped(shape: tuple[int, ...], target: list[int], node: ir.Node) -> tuple[int, ...]:
    keeps = not attribute(node, "allowzero", 0)
    known = [shape[i] if d == 0 and keeps and i < len(shape) else d for i, d in enumerate(target)]
    rest = int(np.prod([d for d in known if d != -1], dtype=np.int64)) or 1
    return tuple(int(np.prod(shape, dtype=np.int64)) // rest if d == -1 else d for d in known)


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


@dataclass(frozen=True)
class Codes:
    """A quantised weight W[N, K] in groups of `block` codes along K; None: a scale for each row."""

    node: ir.Node
    matrix: CodeMatrix  # [N, K], or [K, N] if `axis` is 1; K may be padded
    axis: int  # that N runs along
    N: int
    K: int
    block: int | None
    scale: Rows  # [rows, blocks]
    scale_type: str
    zero: Rows | None  # None: half of all codes
    zero_type: str = "u8"

    def weight(self) -> CodedWeight:
        """It with groups that kernels know: other ones are split, and repeat their scale."""
        group, repeats = self._group()
        bits = self.matrix.bits
        zero_type = None if self.zero is None else self.zero_type
        groups = -(-self.K // group)

        def make(first: int, stop: int) -> Coded:
            codes = self.matrix.part(self.axis, first, stop)
            codes_NK = (codes if self.axis == 0 else codes.T)[:, : self.K]
            scale_NG = np.repeat(self.scale(first, stop), repeats, axis=1)[:, :groups]
            self._check(scale_NG, "scale")
            zero_NG = None if self.zero is None else self.zero(first, stop)
            if zero_NG is not None:
                zero_NG = np.repeat(zero_NG, repeats, axis=1)[:, :groups]
                self._check(zero_NG, "zero point")
            return Coded(np.ascontiguousarray(codes_NK), scale_NG, zero_NG, bits, group)

        return CodedWeight(self.N, self.K, bits, group, self.scale_type, zero_type, make)

    def _group(self) -> tuple[int, int]:
        """(a group size of kernels, how often a block's scale is repeated)."""
        if self.block is None:
            group = min(GROUPS, key=self._stored_bytes)
            return group, -(-self.K // group)
        fits = [group for group in GROUPS if self.block % group == 0]
        if not fits:
            sizes = "multiples of 16 can be"
            raise fault(self.node, f"blocks of {self.block} codes are not read; {sizes}")
        return fits[-1], self.block // fits[-1]

    def _stored_bytes(self, group: int) -> int:
        """What a row takes: whole groups of codes, with a scale and a zero point each."""
        each = group * self.matrix.bits // 8 + (4 if self.scale_type == "f32" else 2)
        return -(-self.K // group) * (each + (self.zero is not None))

    def _check(self, per_group: Array, kind: str) -> None:
        if per_group.dtype.kind == "f" and not np.isfinite(per_group).all():
            raise fault(self.node, f"a {kind} of it is NaN or infinite")


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


def filled(value: int) -> Rows:
    """One zero point for each row."""
    return lambda first, stop: np.full((stop - first, 1), value, np.uint8)
