"""Weights that are made when they are asked for, whole or some rows or columns at a time.

A matrix that is transposed, cast or concatenated asks its sources for the part that it is asked
for: going through a large weight by rows never evaluates the whole of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from opencl_kernels.formats import Array


def part(tensor: ir.TensorProtocol, axis: int, first: int, stop: int) -> Array:
    """Elements [first, stop) of a matrix along `axis`, all of them along the other."""
    if isinstance(tensor, Lazy):
        return tensor.part(axis, first, stop)
    array = tensor.numpy()
    return array[first:stop] if axis == 0 else array[:, first:stop]


def names_of(tensor: ir.TensorProtocol) -> Iterator[str]:
    """The names that a tensor and what it was made of had."""
    if tensor.name:
        yield tensor.name
    if isinstance(tensor, Lazy):
        yield from tensor.former
        for source in tensor.sources:
            yield from names_of(source)


def stored_in(tensor: ir.TensorProtocol) -> ir.DataType:
    """The type that a tensor's numbers came in, where it is only written in a wider one."""
    if not isinstance(tensor, Lazy):
        return tensor.dtype
    types = {stored_in(source) for source in tensor.sources}
    narrowest = types.pop() if len(types) == 1 else tensor.dtype
    return min(narrowest, tensor.dtype, key=lambda dtype: dtype.bitwidth)


class Lazy(ir.LazyTensor):
    """A matrix made from others, its `sources`; `former`: names of nodes that it replaces."""

    def __init__(
        self,
        sources: Sequence[ir.TensorProtocol],
        dtype: ir.DataType,
        shape: tuple[int, int],
        name: str,
        former: Sequence[str] = (),
    ) -> None:
        super().__init__(self._whole, dtype=dtype, shape=ir.Shape(shape), name=name)
        self.sources, self.former = tuple(sources), tuple(former)

    @abstractmethod
    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""

    def _whole(self) -> ir.TensorProtocol:
        return ir.tensor(self.part(0, 0, self.shape.numpy()[0]))


class Transposed(Lazy):
    """The transpose of a matrix."""

    def __init__(self, source: ir.TensorProtocol, name: str) -> None:
        rows, columns = source.shape.numpy()
        super().__init__([source], source.dtype, (columns, rows), name)

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""
        return part(self.sources[0], 1 - axis, first, stop).T


class Cast(Lazy):
    """A matrix in another type of floats."""

    def __init__(self, source: ir.TensorProtocol, dtype: ir.DataType, name: str) -> None:
        rows, columns = source.shape.numpy()
        super().__init__([source], dtype, (rows, columns), name)

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""
        return part(self.sources[0], axis, first, stop).astype(self.dtype.numpy())


class Concat(Lazy):
    """Matrices of one type and height, side by side."""

    def __init__(
        self, sources: Sequence[ir.TensorProtocol], name: str, former: Sequence[str] = ()
    ) -> None:
        self.starts = np.cumsum([0, *(source.shape.numpy()[1] for source in sources)]).tolist()
        shape = sources[0].shape.numpy()[0], self.starts[-1]
        super().__init__(sources, sources[0].dtype, shape, name, former)

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""
        if axis == 0:
            return np.concatenate([part(s, 0, first, stop) for s in self.sources], axis=1)
        found = [
            part(source, 1, max(first, a) - a, min(stop, b) - a)
            for source, a, b in zip(self.sources, self.starts, self.starts[1:], strict=False)
            if max(first, a) < min(stop, b)
        ]
        return np.concatenate(found, axis=1)
