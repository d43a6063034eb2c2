"""What a DequantizeLinear of constants stores.

ONNX operators, DequantizeLinear-10 to -25: y = (x - zero) * scale, with one scale for the tensor,
for each index along an axis, or for each block along it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.graph import attribute
from onnx_passes.ir.rules import Miss
from onnx_passes.weights.code_matrix import (
    CODE_TYPES,
    FLOATS,
    SIGNED,
    CodeMatrix,
    Rows,
    code_rows,
    filled,
    float_rows,
    float_type,
)
from onnx_passes.weights.quantized import QuantizedTensor
from onnx_passes.weights.stored import Constant, StoredWeight, fault, whole
from opencl_kernels.formats import GROUPS, Array


@dataclass(frozen=True)
class LinearCodes:
    """Inputs of a DequantizeLinear that fit together."""

    node: ir.Node
    x: Constant
    scale: Constant
    zero: Constant | None
    axis: int  # that scales differ along
    block: int | None  # elements along the axis that share a scale; None: one scale for each
    dtype: ir.DataType  # of the result

    @classmethod
    def of(cls, node: ir.Node, x: Constant, scale: Constant, zero: Constant | None) -> LinearCodes:
        """Raises GraphError where the inputs do not fit together."""
        axis, block = attribute(node, "axis", 1), attribute(node, "block_size", 0)
        axis = axis + len(x.shape) if axis < 0 else axis
        codes = cls(node, x, scale, zero, axis, block or None, _result_type(node, scale))
        codes._check()
        return codes

    @classmethod
    def by_column(
        cls, node: ir.Node, x: Constant, scale: Constant, zero: Constant | None
    ) -> LinearCodes:
        """The second operand of a product of integers: its scales are for columns or for all.

        Raises GraphError where the parts do not fit together.
        """
        codes = cls(node, x, scale, zero, len(x.shape) - 1, None, scale.dtype)
        codes._check()
        return codes

    def _check(self) -> None:
        x, scale, zero = self.x, self.scale, self.zero
        if scale.dtype not in FLOATS or x.dtype not in (*CODE_TYPES, ir.DataType.INT32):
            types = f"{x.dtype.name.lower()} with scales in {scale.dtype.name.lower()}"
            because = f"its codes are {types}; integers of 4 or 8 bits and floats are right"
            raise fault(self.node, because)
        wanted = self._scales_shape()
        for kind, found in (("scales", scale), ("zero points", zero)):
            if found is not None and not _fits(found, wanted):
                what = f"its {kind} are {list(found.shape)} for codes {list(x.shape)}"
                raise fault(self.node, f"{what}; {wanted} are right")
        if zero is not None and zero.dtype != x.dtype:
            types = f"{zero.dtype.name.lower()} for {x.dtype.name.lower()}"
            because = f"its zero points are of another type than its codes: {types}"
            raise fault(self.node, because)

    def _scales_shape(self) -> list[int]:
        shape, axis, block = self.x.shape, self.axis, self.block
        if self.scale.is_single and block is None:
            return list(self.scale.shape)
        if not 0 <= axis < len(shape):
            stated = attribute(self.node, "axis", 1)
            raise fault(self.node, f"its axis is {stated}, and it has {len(shape)}")
        if block is None:
            return [shape[axis]]
        return [-(-d // block) if i == axis else d for i, d in enumerate(shape)]

    @property
    def _is_single(self) -> bool:
        """Whether one scale stands for all."""
        return self.scale.is_single and self.block is None

    def quantized(self, along: int | None, name: str) -> QuantizedTensor:
        """The codes as a weight whose K runs along axis `along`; a Miss says why it is none."""
        along = self._readable(along)
        height, width = self.x.shape
        N, K = self.x.shape[1 - along], self.x.shape[along]
        groups = 1 if self.block is None else -(-K // self.block)
        # scales lie as the codes do: rows of W along the axis that K does not run along
        rows = 1 if self._is_single else N
        lie = (rows, groups) if along == 1 else (groups, rows)
        scale = self._for_each_row(float_rows(self.scale.tensor, *lie, 1 - along))
        stored = StoredWeight(
            self.node,
            CodeMatrix(self.x.tensor, height, width, self.x.dtype.bitwidth),
            1 - along,
            N,
            K,
            self.block,
            scale,
            float_type(self.scale.tensor),
            self._zeros(lie, along, groups),
        )
        return QuantizedTensor(stored.weight(), self.dtype, along == 0, name)

    def _readable(self, along: int | None) -> int:
        """Where K runs; a Miss unless kernels can read the codes so."""
        if len(self.x.shape) != 2 or self.x.dtype not in CODE_TYPES:
            raise Miss(f"{self.x} is no matrix of 4 or 8 bits")
        if along is None:
            raise Miss("it is neither the weight of a matmul nor an embedding")
        if not self._is_single and (self.block is None) == (self.axis == along):
            raise Miss("its scales differ along K without blocks, or its blocks run along N")
        if self.block is not None and all(self.block % group for group in GROUPS):
            raise Miss(f"blocks of {self.block} are no multiple of {GROUPS[0]}")
        return along

    def _zeros(self, lie: tuple[int, int], along: int, groups: int) -> Rows | None:
        """Zero points [N, groups]; None where they are half of all codes."""
        if self.zero is None:
            return None if self.x.dtype in SIGNED else filled(0, groups)
        matrix = CodeMatrix(self.zero.tensor, *lie, self.x.dtype.bitwidth)
        return self._for_each_row(code_rows(matrix, 1 - along, groups))

    def _for_each_row(self, rows: Rows) -> Rows:
        """Rows of scales, where one may stand for all."""
        if not self._is_single:
            return rows
        return lambda first, stop: np.repeat(rows(0, 1), stop - first, axis=0)

    def floats(self, name: str) -> ir.LazyTensor:
        """What the node computes, of any rank."""

        def values() -> ir.TensorProtocol:
            codes = self.x.tensor.numpy().reshape(self.x.shape).astype(np.float32)
            offset = codes if self.zero is None else codes - self._wide(self.zero)
            return ir.tensor((offset * self._wide(self.scale)).astype(self.dtype.numpy()))

        return ir.LazyTensor(values, dtype=self.dtype, shape=ir.Shape(self.x.shape), name=name)

    def _wide(self, found: Constant) -> Array:
        """Scales or zero points, to broadcast over the codes."""
        array = found.tensor.numpy().reshape(found.shape).astype(np.float32)
        if self.block is not None:
            repeated = np.repeat(array, self.block, self.axis)
            return repeated[tuple(slice(size) for size in self.x.shape)]
        rank = len(self.x.shape)
        return array.reshape([-1 if i == self.axis else 1 for i in range(rank)])


def _fits(found: Constant, wanted: list[int]) -> bool:
    return list(found.shape) == wanted or (wanted in ([], [1]) and found.is_single)


def _result_type(node: ir.Node, scale: Constant) -> ir.DataType:
    stated = whole(node, "output_dtype", 0)
    if stated and stated not in [dtype.value for dtype in FLOATS]:
        raise fault(node, f"its output_dtype is {stated}; float, float16 and bfloat16 are read")
    return ir.DataType(stated) if stated else scale.dtype
