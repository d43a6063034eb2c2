"""The tables of a plan: neurons of feed-forward networks, and rows of embeddings, as records that
are packed when they are written.

A record is a neuron's row of the gates, its row of the ups and its column of the last product;
where the gate tells which records are needed, that row is no part of it and stays in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.experts.networks import ExpertNetwork
from onnx_passes.analysis.ffn import Columns, Ffn
from onnx_passes.code_records import REQUANTIZED
from onnx_passes.ir.graph import needed
from onnx_passes.ir.rules import Missed
from onnx_passes.weights.lazy import part
from onnx_passes.weights.quantized import QuantizedTensor, quantized
from opencl_kernels.formats import Array, Quantized
from opencl_kernels.layouts import F16, Stored
from opencl_kernels.layouts import quantized as coded
from opencl_kernels.records.packing import pack
from opencl_kernels.records.record import KINDS, Record
from toolkit.compiler.weights.channels import (
    BLOCK_BYTES,
    TabledChannels,
    channels_of,
    stored_columns,
)
from toolkit.compiler.weights.experts import TabledExperts
from toolkit.compiler.weights.halves import in_halves
from toolkit.compiler.weights.rows import KIND as ROW
from toolkit.compiler.weights.rows import TabledRows, packed_rows, tabled_rows
from toolkit.compiler.weights.table import WeightTable
from toolkit.plan.arena import round_up
from toolkit.plan.schema import PAGE, Part, Table
from toolkit.plan.write import Order, TableSource

# Activations that are 0 wherever v isn't above a number: ReLU, and FatReLU by its threshold.
_THRESHOLDED = re.compile(r"Where\(Greater\(v, (\d[\de.+-]*)\), v, 0\.0\)")


@dataclass(frozen=True)
class Tabled:
    """A network whose weights lie in a table.

    above  a neuron's gate is no part of its record: where it isn't above this number, no other part
           of it is needed
    order  the weight that says which neuron each record is; None: that of its number
    ahead  whether some of them may be read before it asks, where they are predicted
    first  whether gates of what is predicted are read before the rest
    """

    ffn: Ffn
    table: int
    record: Record
    kind: str
    above: float | None
    order: int | None = None
    ahead: bool = True
    first: bool = False

    @property
    def gated(self) -> bool:
        """Whether gates lie in memory."""
        return self.above is not None

    @property
    def first_bytes(self) -> int:
        """Of a record: its gate, if it tells alone that a predicted neuron is zero, in pages of its
        own; 0: it doesn't."""
        gate = self.ffn.gate
        tells = gate is not None and gate.bias is None and least_gate(self.ffn.act) is not None
        size = self.record.part_bytes
        own = round_up(size, PAGE) < round_up(self.record.nbytes, PAGE)
        whole = _table(self.name, self.kind, 1, self.record).stride % PAGE == 0
        return size if tells and own and whole and not self.gated and self.ffn.chosen else 0

    @property
    def name(self) -> str:
        """Of the table, and what names of its dispatches begin with."""
        return f"layers.{self.table}.ffn"

    @property
    def parts(self) -> tuple[str, ...]:
        """Of a record."""
        return KINDS[self.kind].parts


@dataclass
class RecordTables:
    """Tables in the order of the networks, then of experts, then those of embeddings; `weights`
    says how matrices are stored."""

    weights: WeightTable
    found: list[Tabled | TabledChannels] = field(default_factory=list)
    experts: list[TabledExperts] = field(default_factory=list)
    rows: list[TabledRows] = field(default_factory=list)
    sources: list[TableSource] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)  # networks that stay in memory, and why
    whole: bool = False  # whether all neurons are read, whatever gates say

    def add(self, ffn: Ffn, order: Order | None = None, importance: Array | None = None) -> None:
        """A table of the network's neurons, if records can hold them.

        order       a neuron of each record
        importance  of neurons: what they add on average
        """
        stored = self._stored(ffn)
        if stored is None:
            self._miss(ffn)
            return
        asked = not self.whole and ffn.gate is not None and not ffn.chosen
        above = least_gate(ffn.act) if asked else None
        kind = "neuron" if ffn.gate is not None and above is None else "neuron without gate"
        record = Record(len(KINDS[kind].parts), ffn.depth, stored)
        number = len(self.sources)
        tabled = Tabled(ffn, number, record, kind, above)
        if order is not None:
            number_of = self._weight(f"{tabled.name}.order", order.astype(np.int32))
            tabled = replace(tabled, order=number_of)
        self.found.append(tabled)
        table = replace(_table(tabled.name, kind, ffn.width, record), order=tabled.order)
        if importance is not None:
            sizes = importance if order is None else importance[order]
            name = f"{table.name}.importance"
            table = replace(table, importance=self._weight(name, sizes.astype(np.float32)))
        self.sources.append(TableSource(table, self._producer(tabled), order))

    def add_channels(self, ffn: Ffn, orders: Sequence[Order | None] = ()) -> None:
        """Tables of what is computed of the network's inputs, and of its hidden units.

        orders  of each which of them each record is
        """
        stored = stored_columns(ffn, self.weights)
        if stored is None:
            self._miss(ffn)
            return
        name, first = f"layers.{len(self.found)}.ffn", len(self.sources)
        orders = orders or (None, None)
        numbers = [
            None if o is None else self._weight(f"{name}.{end}.order", o.astype(np.int32))
            for o, end in zip(orders, ("in", "out"), strict=True)
        ]
        found = channels_of(name, ffn, first, stored, (numbers[0], numbers[1]))
        self.found.append(found)
        for each, order in zip((found.inputs, found.hidden), orders, strict=True):
            table = replace(_table(each.name, each.kind, each.count, each.record), order=each.order)
            self.sources.append(TableSource(table, each.producer(self.weights.forget), order))

    def _miss(self, ffn: Ffn) -> None:
        what = (ffn.down.op_type, ffn.down.name or ffn.down.outputs[0].name or "")
        because = "its matrices are not all in codes of 4 bits, or all in halves"
        self.missed.append(Missed(*what, because))

    def add_experts(self, network: ExpertNetwork) -> None:
        """A table of a network's experts, as they would be stored in memory."""
        found = TabledExperts(network, len(self.sources), self.weights)
        self.experts.append(found)
        self.sources.append(TableSource(found.entry, found.produce))

    def add_rows(self, node: ir.Node) -> None:
        """A table of an embedding's rows, behind those of all networks."""
        found = tabled_rows(node, len(self.sources), self.weights)
        self.rows.append(found)
        if found.anew:
            needed(node, 0).metadata_props[REQUANTIZED] = "1"
        table = _table(found.name, ROW, found.count, found.record)
        self.sources.append(TableSource(table, partial(packed_rows, found, self.weights.forget)))

    def without_ahead(self, numbers: Container[int]) -> RecordTables:
        """The same, but nothing is read ahead of these tables."""
        found = [
            replace(each, ahead=each.table not in numbers) if isinstance(each, Tabled) else each
            for each in self.found
        ]
        return replace(self, found=found)

    def with_first(self, numbers: Container[int]) -> RecordTables:
        """The same, but of these tables gates are read before the rest."""
        found = [
            replace(each, first=each.table in numbers) if isinstance(each, Tabled) else each
            for each in self.found
        ]
        return replace(self, found=found)

    @property
    def scores(self) -> frozenset[str]:
        """Names of the values by which records are chosen: the host reads them as floats."""
        tops = (needed(top, 0) for tabled in self.found for top in tabled.ffn.tops)
        scores = (tabled.ffn.scores for tabled in self.found)
        return frozenset(each.name or "" for each in (*tops, *scores) if each is not None)

    @property
    def networks(self) -> int:
        """Tables of networks: the first ones."""
        return len(self.sources) - len(self.rows)

    @property
    def alone(self) -> int:
        """Of these, those of networks without a router: the first ones."""
        return self.networks - len(self.experts)

    def by_node(self) -> dict[ir.Node, AnyTabled]:
        """The networks by each of their nodes, experts by their products, embeddings by theirs."""
        found: dict[ir.Node, AnyTabled] = {rows.node: rows for rows in self.rows}
        for tabled in self.found:
            found |= dict.fromkeys(tabled.ffn.nodes, tabled)
        for experts in self.experts:
            found |= dict.fromkeys(experts.network.products, experts)
        return found

    @property
    def tables(self) -> tuple[Table, ...]:
        """As the plan has them, without files and places."""
        return tuple(source.table for source in self.sources)

    def _weight(self, name: str, numbers: Array) -> int:
        """The number of a weight that has a number for each record."""
        value = ir.Value(name=name, const_value=ir.tensor(numbers, name=name))
        return int(self.weights.vector(value)[-1])

    def _stored(self, ffn: Ffn) -> Stored | None:
        """How all parts of its records are stored; None where there are no such records."""
        kinds = {self.weights.stored(weight).dtype for weight in ffn.weights}
        if kinds == {"f16"}:
            return F16
        tensors = [quantized(weight) for weight in ffn.weights]
        weights = [tensor.weight for tensor in tensors if tensor is not None]
        if kinds != {"e0m4"} or len({(w.group, w.scale, w.zero) for w in weights}) != 1:
            return None
        return coded("e0m4", weights[0].group, "f16", weights[0].zero or "")

    def _producer(self, tabled: Tabled) -> Callable[[], Iterator[Array]]:
        ffn, record = tabled.ffn, tabled.record
        rows = {"up": ffn.up, "gate": ffn.gate}
        step = max(1, BLOCK_BYTES // record.nbytes)

        def produce() -> Iterator[Array]:
            for first in range(0, ffn.width, step):
                stop = min(first + step, ffn.width)
                parts = [
                    self._neurons(rows.get(name), ffn, record, first, stop) for name in tabled.parts
                ]
                yield pack(record, parts)
                self.weights.forget()

        return produce

    def _neurons(
        self, columns: Columns | None, ffn: Ffn, record: Record, first: int, stop: int
    ) -> Array | Quantized:
        """A part of the records [first, stop): columns of a matrix [D, N], or rows of [F, D]."""
        value, axis = needed(ffn.down, 1), 0
        if columns is not None:
            value, axis = columns.weight, 1
            first, stop = columns.first + first, columns.first + stop
        tensor = value.const_value
        assert tensor is not None
        if record.stored.bits:
            assert isinstance(tensor, QuantizedTensor)
            return tensor.weight.make(first, stop)
        found = part(tensor, axis, first, stop)
        return in_halves(value.name or "", found.T if axis else found)


AnyTabled = Tabled | TabledChannels | TabledExperts | TabledRows


def _table(name: str, kind: str, count: int, record: Record) -> Table:
    stored, size = record.stored, record.part_bytes
    parts = tuple(
        Part(each, i * size, size, stored.dtype, record.length, stored.group, bool(stored.zero))
        for i, each in enumerate(KINDS[kind].parts)
    )
    return Table(name, kind, count, record.nbytes, record.stride(kind), 0, 0, parts)


def least_gate(act: str) -> float | None:
    """The number that a gate must be above, or its activation is 0; None where there is none."""
    fat = _THRESHOLDED.fullmatch(act)
    return 0.0 if act == "Relu(v)" else float(fat[1]) if fat is not None else None


def tables_of(
    ffns: Sequence[Ffn],
    missed: Sequence[Missed],
    weights: WeightTable,
    orders: Sequence[Order] = (),
    importances: Sequence[Array] = (),
    whole: bool = False,
) -> RecordTables:
    """The tables of a model's networks.

    orders       of each table what its records are of, in their order
    importances  of each network what its neurons add on average
    whole        all neurons are read, whatever gates say
    """
    tables = RecordTables(weights, missed=list(missed), whole=whole)
    if any(ffn.tops for ffn in ffns):
        for number, ffn in enumerate(ffns):
            tables.add_channels(ffn, orders[2 * number : 2 * number + 2])
        return tables
    for each in zip_longest(ffns, orders, importances):
        tables.add(*each)
    return tables
