"""What ONNX Runtime's own quantised ops store: W[N, K] in blocks along K, each with its scale.

MatMulNBits, QMoE and GatherBlockQuantized, contrib ops: codes in bytes, rows padded to whole blocks
for a product and not for a table; scales as floats; zero points packed as the codes are, or as
floats.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnx_passes.ir.edit import unique_name
from onnx_passes.ir.graph import operand
from onnx_passes.weights.code_matrix import (
    FLOATS,
    SIGNED,
    CodeMatrix,
    Rows,
    code_rows,
    filled,
    float_rows,
    float_type,
)
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight
from onnx_passes.weights.stored import AGAIN, Constant, StoredWeight, fault, stored, whole
from opencl_kernels.formats import GROUPS

NARROW = {  # types whose tensors say themselves that codes lie several in a byte, by bits
    2: (ir.DataType.INT2, ir.DataType.UINT2),
    4: (ir.DataType.INT4, ir.DataType.UINT4),
    8: (),
}


def bits_of(node: ir.Node, name: str = "bits") -> int:
    """Of a code, as the node's attribute `name` says: 2, 4 or 8."""
    bits = whole(node, name, 4)
    if bits not in NARROW:
        raise fault(node, f"its codes have {bits} bits; 2, 4 and 8 are read", f"{AGAIN} in 4 or 8")
    return bits


@dataclass(frozen=True)
class BlockCodes:
    """Constant inputs of such a node that fit together."""

    node: ir.Node
    N: int
    K: int
    block: int | None  # codes along K that share a scale; None: all of a row
    matrix: CodeMatrix  # [N, K]; K may be padded
    scales: Constant
    zeros: Constant | None

    @classmethod
    def of(
        cls,
        node: ir.Node,
        sizes: tuple[int, int],
        places: tuple[int, int, int],
        bits: int,
        block: int | None,
    ) -> BlockCodes:
        """Inputs `places` hold codes, scales and zero points; `sizes` are N and K.

        Raises GraphError where they are not constants or do not fit together.
        """
        data, scales, zeros = (stored(operand(node, place)) for place in places)
        N, K = sizes
        if data is None or scales is None:
            raise fault(node, f"its {'codes' if data is None else 'scales'} are not constants")
        if (block is not None and block not in GROUPS) or N < 1 or K < 1:
            raise fault(node, f"N {N}, K {K}, blocks of {block}; blocks of {GROUPS} are read")
        if zeros is None and operand(node, places[2]) is not None:
            raise fault(node, "its zero points are not constants")
        exact = data.dtype in NARROW[bits] or places[0] == 0  # a table's rows are not padded
        width = K if exact or block is None else -(-K // block) * block
        matrix = CodeMatrix(data.tensor, N, width, bits)
        codes = cls(node, N, K, block, matrix, scales, zeros)
        codes._check(data)
        return codes

    @property
    def blocks(self) -> int:
        """Of a row."""
        return 1 if self.block is None else -(-self.K // self.block)

    def _check(self, data: Constant) -> None:
        matrix = self.matrix
        known = (ir.DataType.UINT8, *(NARROW[matrix.bits] or (ir.DataType.INT8,)))
        if data.dtype not in known or data.tensor.nbytes != matrix.bytes:
            raise fault(self.node, f"its codes are {data}; {matrix.bytes} bytes are right")
        right = f"floats [{self.N}, {self.blocks}] are right"
        if self.scales.dtype not in FLOATS or self.scales.tensor.size != self.N * self.blocks:
            raise fault(self.node, f"its scales are {self.scales}; {right}")

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for nodes that share a weight, as the embedding and the head may."""
        found = (self.matrix.tensor, self.scales.tensor, self.zeros and self.zeros.tensor)
        return (self.N, self.K, self.matrix.bits, self.block, *map(id, found))

    def weight(self) -> QuantizedWeight:
        """The weight that they are."""
        zero, zero_type = self._zero_points()
        scale, scale_type = self.scales.tensor, float_type(self.scales.tensor)
        rows = float_rows(scale, self.N, self.blocks, 0)
        sizes = self.N, self.K, self.block
        stated = StoredWeight(self.node, self.matrix, 0, *sizes, rows, scale_type, zero, zero_type)
        return stated.weight()

    def _zero_points(self) -> tuple[Rows | None, str]:
        """By rows, and their type."""
        matrix, blocks = self.matrix, self.blocks
        if self.zeros is None:  # uint4 counts from 0, uint8 and signed codes from their middle
            unsigned = matrix.tensor.dtype in (ir.DataType.UINT2, ir.DataType.UINT4)
            return (filled(0, blocks) if unsigned else None), "u8"
        tensor = self.zeros.tensor
        if tensor.dtype in FLOATS and tensor.size == self.N * blocks:
            return float_rows(tensor, self.N, blocks, 0), float_type(tensor)
        exact = tensor.dtype in NARROW[matrix.bits] or self.block is None
        each = 1 if exact else 8 // matrix.bits  # rows are whole bytes
        packed = CodeMatrix(tensor, self.N, each * -(-blocks // each), matrix.bits)
        alike = (tensor.dtype in SIGNED) == (matrix.tensor.dtype in SIGNED)
        if not alike or tensor.dtype.bitwidth > 8 or tensor.nbytes != packed.bytes:
            because = f"its zero points are {self.zeros}; {packed.bytes} bytes are right"
            raise fault(self.node, because)
        return code_rows(packed, 0, blocks), "u8"


def shared(model: ir.Model, codes: BlockCodes, transposed: bool) -> QuantizedTensor:
    """The weight as a tensor of its own; nodes that share codes share the weight."""
    known: dict[tuple[object, ...], QuantizedWeight]
    known = model.graph.meta.setdefault("pocket_weights", {})
    weight = known.get(codes.key) or known.setdefault(codes.key, codes.weight())
    name = unique_name(model.graph, f"{codes.node.name or codes.node.outputs[0].name}.weight")
    return QuantizedTensor(weight, codes.scales.dtype, transposed, name)
