"""Blocks of a matrix's rows side by side, as matrices of experts lie."""

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.rules import Miss
from onnx_passes.weights.lazy import Lazy, part
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight
from opencl_kernels.formats import Array, Quantized


class Blocks(Lazy):
    """A matrix [B * K, N] as [K, B * N]."""

    def __init__(self, source: ir.TensorProtocol, blocks: int, name: str) -> None:
        rows, self.N = source.shape.numpy()
        self.blocks, self.K = blocks, rows // blocks
        super().__init__([source], source.dtype, (self.K, blocks * self.N), name)

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""
        if axis == 0:
            starts = range(0, self.blocks * self.K, self.K)
            found = [part(self.sources[0], 0, at + first, at + stop) for at in starts]
            return np.concatenate(found, axis=1)
        from_, to = first // self.N, -(-stop // self.N)
        some = part(self.sources[0], 0, from_ * self.K, to * self.K)
        beside = np.concatenate(np.split(some, to - from_), axis=1)
        return beside[:, first - from_ * self.N :][:, : stop - first]


def in_blocks(tensor: ir.TensorProtocol, blocks: int, name: str) -> ir.TensorProtocol:
    """A weight [B * K, N] as [K, B * N]; codes stay codes. Miss where a group spans two blocks."""
    if blocks == 1:
        return tensor
    if not isinstance(tensor, QuantizedTensor) or not tensor.transposed:
        return Blocks(tensor, blocks, name)
    weight = _codes_in_blocks(tensor.weight, blocks)
    return QuantizedTensor(weight, tensor.dtype, True, name)


def _codes_in_blocks(weight: QuantizedWeight, blocks: int) -> QuantizedWeight:
    depth = weight.K // blocks
    if depth % weight.group:
        raise Miss(f"a block of {depth} weights is no multiple of a group of {weight.group}")

    def make(first: int, stop: int) -> Quantized:
        codes, scales, zeros = list[Array](), list[Array](), list[Array]()
        for block in range(first // weight.N, -(-stop // weight.N)):
            start = block * weight.N
            made = weight.make(max(first - start, 0), min(stop - start, weight.N))
            codes.append(_columns(made.codes_NK, block, blocks))
            scales.append(_columns(made.scale_NG, block, blocks))
            if made.zero_NG is not None:
                zeros.append(_columns(made.zero_NG, block, blocks))
        joined = np.concatenate(zeros) if zeros else None
        return Quantized(
            np.concatenate(codes), np.concatenate(scales), joined, weight.bits, weight.group
        )

    form = weight.bits, weight.group, weight.scale, weight.zero
    return QuantizedWeight(blocks * weight.N, depth, *form, make)


def _columns(array: Array, block: int, blocks: int) -> Array:
    return np.split(array, blocks, axis=1)[block]
