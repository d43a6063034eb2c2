"""A quantised weight as a node of the model stores it, and the errors of one that is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.graph import GraphError, attribute, integers, needed, producer
from onnx_passes.weights.code_matrix import CodeMatrix, Rows, filled
from onnx_passes.weights.quantized import QuantizedWeight
from opencl_kernels.formats import GROUPS, Array, Quantized

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


class Constant(NamedTuple):
    """A tensor of the model and the shape that it is read in."""

    tensor: ir.TensorProtocol
    shape: tuple[int, ...]

    @property
    def dtype(self) -> ir.DataType:
        """Its element type."""
        return self.tensor.dtype

    @property
    def is_single(self) -> bool:
        """Whether it is one number."""
        return self.tensor.size == 1

    def __str__(self) -> str:
        """For errors: float16 [4, 8]."""
        return f"{self.dtype.name.lower()} {list(self.shape)}"


def stored(value: ir.Value | None) -> Constant | None:
    """A constant, looked at through Reshape and Identity; None where the value is none."""
    if value is None:
        return None
    node = producer(value, "Reshape", "Identity")
    if node is None:
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else Constant(tensor, tuple(tensor.shape.numpy()))
    found = stored(needed(node, 0))
    target = integers(needed(node, 1)) if node.op_type == "Reshape" else None
    if found is None or node.op_type == "Identity":
        return found
    if target is None:
        return None
    return Constant(found.tensor, _reshaped(found.shape, target, node))


def _reshaped(shape: tuple[int, ...], target: list[int], node: ir.Node) -> tuple[int, ...]:
    keeps = not attribute(node, "allowzero", 0)
    known = [shape[i] if d == 0 and keeps and i < len(shape) else d for i, d in enumerate(target)]
    rest = int(np.prod([d for d in known if d != -1], dtype=np.int64)) or 1
    return tuple(int(np.prod(shape, dtype=np.int64)) // rest if d == -1 else d for d in known)


@dataclass(frozen=True)
class StoredWeight:
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

    def weight(self) -> QuantizedWeight:
        """It with groups that kernels know: other ones are split, and repeat their scale."""
        group, repeats = self._group()
        groups, bits = -(-self.K // group), self._bits
        zero = self.zero
        if zero is None and bits != self.matrix.bits:
            zero = filled(2 ** (self.matrix.bits - 1), groups)
        zero_type = None if zero is None else self.zero_type

        def make(first: int, stop: int) -> Quantized:
            codes = self.matrix.part(self.axis, first, stop)
            codes_NK = (codes if self.axis == 0 else codes.T)[:, : self.K]
            scale_NG = np.repeat(self.scale(first, stop), repeats, axis=1)[:, :groups]
            self._check(scale_NG, "scale")
            zero_NG = None if zero is None else zero(first, stop)
            if zero_NG is not None:
                zero_NG = np.repeat(zero_NG, repeats, axis=1)[:, :groups]
                self._check(zero_NG, "zero point")
            return Quantized(np.ascontiguousarray(codes_NK), scale_NG, zero_NG, bits, group)

        return QuantizedWeight(self.N, self.K, bits, group, self.scale_type, zero_type, make)

    @property
    def _bits(self) -> int:
        """Of a code as kernels know it: those of 2 bits are among those of 4."""
        return max(4, self.matrix.bits)

    def _group(self) -> tuple[int, int]:
        """(a group size of kernels, how often a block's scale is repeated)."""
        if self.block is None:
            group = min(GROUPS, key=self._stored_bytes)
            return group, -(-self.K // group)
        fits = [group for group in GROUPS if self.block % group == 0]
        if not fits:
            because = f"blocks of {self.block} codes are not read; multiples of {GROUPS[0]} are"
            raise fault(self.node, because)
        return fits[-1], self.block // fits[-1]

    def _stored_bytes(self, group: int) -> int:
        """What a row takes: whole groups of codes, with a scale and a zero point each."""
        each = group * self._bits // 8 + (4 if self.scale_type == "f32" else 2)
        return -(-self.K // group) * (each + (self.zero is not None))

    def _check(self, per_group: Array, kind: str) -> None:
        if per_group.dtype.kind == "f" and not np.isfinite(per_group).all():
            raise fault(self.node, f"a {kind} of it is NaN or infinite")
