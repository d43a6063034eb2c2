"""A network that is computed with some of its inputs and hidden units: columns of its weights.

A record of the first table is what reads an input: a column of the ups, and one of the gates. A
record of the second is what a hidden unit brings to the result: a column of the last product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnx_passes.analysis.ffn import Columns, Ffn
from onnx_passes.ir.graph import attribute, needed
from onnx_passes.weights.lazy import Concat, part
from onnx_passes.weights.quantized import QuantizedTensor, quantized
from opencl_kernels.formats import Array, Quantized
from opencl_kernels.layouts import F16, Stored
from opencl_kernels.layouts import quantized as coded
from opencl_kernels.records.packing import pack
from opencl_kernels.records.record import KINDS, Record
from toolkit.compiler.weights.halves import in_halves
from toolkit.compiler.weights.table import WeightTable
from toolkit.plan.schema import Ref, Select

BLOCK_BYTES = 4 * 2**20  # of records that are packed at a time; as floats they take some more
CHANNEL, UNGATED, DOWN = "channel", "channel without gate", "down"  # kinds of records


@dataclass(frozen=True)
class Channels:
    """A table of such a network.

    kind   of records: of inputs, or of hidden units
    count  of these
    top    the node that says which of them are needed
    order  the weight that says which of them each record is; None: that of its number
    """

    name: str
    ffn: Ffn
    table: int
    kind: str
    count: int
    record: Record
    top: ir.Node
    order: int | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Of a record."""
        return KINDS[self.kind].parts

    def select(self, source: Ref) -> Select:
        """Where one position is fed, by what lies there."""
        gamma = float(attribute(self.top, "gamma", 1.0))
        return Select("top", source, k=int(attribute(self.top, "k")), gamma=gamma)

    def producer(self, forget: Callable[[], None]) -> Callable[[], Iterator[Array]]:
        """What makes the records, some at a time; `forget`: the pages that were read for them."""
        step = max(1, BLOCK_BYTES // self.record.nbytes)

        def produce() -> Iterator[Array]:
            for first in range(0, self.count, step):
                stop = min(first + step, self.count)
                found = [self._part(name, first, stop) for name in self.parts]
                yield pack(self.record, found)
                forget()

        return produce

    def _part(self, name: str, first: int, stop: int) -> Array | Quantized:
        """Of the records [first, stop): rows of a matrix [D, N], perhaps some of their elements."""
        columns = {"up": self.ffn.up, "gate": self.ffn.gate}.get(name)
        if columns is not None:
            tensor, value = codes_of(columns), columns.weight
            begin, end = columns.first, columns.first + columns.width
        else:
            value = needed(self.ffn.down, 1)
            tensor, begin, end = quantized(value), 0, self.record.length
        if self.record.stored.bits:
            assert tensor is not None
            return tensor.weight.make(first, stop)
        assert value.const_value is not None
        return in_halves(value.name or "", part(value.const_value, 0, first, stop)[:, begin:end])


@dataclass(frozen=True)
class TabledChannels:
    """A network in two tables, of its inputs and of its hidden units."""

    ffn: Ffn
    inputs: Channels
    hidden: Channels


def channels_of(
    name: str, ffn: Ffn, first: int, stored: Stored, orders: tuple[int | None, int | None]
) -> TabledChannels:
    """Its tables, of which the first has this number."""
    kind = UNGATED if ffn.gate is None else CHANNEL
    records = Record(len(KINDS[kind].parts), ffn.width, stored), Record(1, ffn.depth, stored)
    tops = ffn.tops
    return TabledChannels(
        ffn,
        Channels(f"{name}.in", ffn, first, kind, ffn.depth, records[0], tops[0], orders[0]),
        Channels(f"{name}.out", ffn, first + 1, DOWN, ffn.width, records[1], tops[1], orders[1]),
    )


def stored_columns(ffn: Ffn, weights: WeightTable) -> Stored | None:
    """How all parts of its records are stored; None where there are no such records."""
    down = quantized(needed(ffn.down, 1))
    found = [*map(codes_of, ffn.columns), None if down is None or down.transposed else down]
    codes = [tensor.weight for tensor in found if tensor is not None]
    forms = {(w.group, w.scale, w.zero) for w in codes}
    if len(codes) == len(found) and len(forms) == 1:
        return coded("e0m4", codes[0].group, "f16", codes[0].zero or "")
    if not codes and {weights.stored(weight).dtype for weight in ffn.weights} == {"f16"}:
        return F16
    return None


def codes_of(columns: Columns) -> QuantizedTensor | None:
    """Codes along the columns of the inputs' matrix, or of one of two that lie side by side."""
    tensor = columns.weight.const_value
    if isinstance(tensor, Concat) and columns.first in tensor.starts[:-1]:
        tensor = tensor.sources[tensor.starts.index(columns.first)]
    if not isinstance(tensor, QuantizedTensor) or tensor.transposed:
        return None
    return tensor
