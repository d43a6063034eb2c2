"""Weights in codes of 4 bits that index a table of floats: what bitsandbytes and MatMulBnb4 store.

A code is looked up in FP4's or NF4's table (Dettmers et al. 2023, QLoRA, appendix E) and scaled by
the largest magnitude of its block. Blocks run through the flat matrix, not along its rows, and of
two codes in a byte the first is in the high half.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.weights.lazy import Lazy
from opencl_kernels.formats import Array

_FP4 = np.array([0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4], np.float32)
FP4 = np.concatenate([_FP4, -_FP4])
NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    np.float32,
)
TABLES = (FP4, NF4)  # in the order of the attribute quant_type


class TableCodes(Lazy):
    """Such a weight W[N, K] as floats, in the type of its scales."""

    def __init__(
        self,
        codes: ir.TensorProtocol,
        scales: ir.TensorProtocol,
        sizes: tuple[int, int],
        block: int,
        table: Array,
        name: str,
    ) -> None:
        super().__init__([codes, scales], scales.dtype, sizes, name)
        self.block, self.table = block, table

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""
        if axis == 1:
            return self.part(0, 0, self.shape.numpy()[0])[:, first:stop]
        K = self.shape.numpy()[1]
        codes, scales = (source.numpy().reshape(-1) for source in self.sources)
        start, end = first * K, stop * K
        packed = codes[start // 2 : -(-end // 2)]
        both = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)
        values = self.table[both[start % 2 :][: end - start]]
        blocks = np.arange(start, end) // self.block
        scaled = values * scales.astype(np.float32)[blocks]
        return np.asarray(scaled.reshape(stop - first, K).astype(self.dtype.numpy()))
