"""Rows of an embedding as records of a table: with the numbers, or the codes, that they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.graph import needed
from onnx_passes.weights.lazy import part
from onnx_passes.weights.quantized import QuantizedWeight, quantized
from onnx_passes.weights.record_codes import Form, along_rows, holds
from opencl_kernels.formats import DTYPES, Array, Quantized
from opencl_kernels.layouts import F16, F32, Stored
from opencl_kernels.layouts import quantized as coded
from opencl_kernels.records.packing import pack
from opencl_kernels.records.record import Record
from toolkit.compiler.weights.table import WeightTable
from toolkit.errors import PocketError

KIND = "row"
ROWS_BYTES = 4 * 2**20  # of records that are packed at a time


@dataclass(frozen=True)
class TabledRows:
    """A lookup whose table lies in flash; `anew`: it had codes that records don't hold."""

    node: ir.Node
    table: int
    record: Record
    count: int
    rows: Callable[[int, int], Array | Quantized]
    anew: bool = False

    @property
    def name(self) -> str:
        """Of the table, and of the gathers."""
        return needed(self.node, 0).name or f"rows.{self.table}"


def tabled_rows(node: ir.Node, table: int, weights: WeightTable) -> TabledRows:
    """The rows of a lookup as the plan's weights would be stored."""
    value = needed(node, 0)
    tensor, stored = quantized(value), weights.stored(value)
    assert value.const_value is not None
    count, width = (int(size) for size in value.const_value.shape.numpy())
    if not stored.bits or tensor is None:
        floats = F16 if stored.dtype == "f16" else F32
        return TabledRows(node, table, Record(1, width, floats), count, _floats(value, floats))
    if stored.dtype == "q8":
        zero = "f32" if tensor.weight.zero else ""
        held = coded("q8", tensor.weight.group, "f32", zero)
        return TabledRows(node, table, Record(1, width, held), count, _bytes(tensor.weight))
    form = Form(tensor.weight.group, tensor.weight.zero is None)
    made = along_rows(tensor.weight, form)
    held = coded("e0m4", form.group, "f16", form.zero or "")
    anew = not holds(tensor.weight, form)
    return TabledRows(node, table, Record(1, width, held), count, made.make, anew)


def packed_rows(rows: TabledRows, forget: Callable[[], None]) -> Iterator[Array]:
    """All records, some at a time; `forget` unmaps what was read for them."""
    step = max(1, ROWS_BYTES // rows.record.nbytes)
    for first in range(0, rows.count, step):
        yield pack(rows.record, [rows.rows(first, min(first + step, rows.count))])
        forget()


def _floats(value: ir.Value, stored: Stored) -> Callable[[int, int], Array]:
    def rows(first: int, stop: int) -> Array:
        assert value.const_value is not None
        with np.errstate(over="ignore"):
            found = part(value.const_value, 0, first, stop).astype(DTYPES[stored.dtype])
        if not np.isfinite(found).all():
            raise PocketError(
                f"weight {value.name} can't be stored",
                f"it has values that are NaN, infinite or too large for {stored.dtype}",
                "export it again, or compile with --weights f32 if a value is only too large",
            )
        return found

    return rows


def _bytes(weight: QuantizedWeight) -> Callable[[int, int], Quantized]:
    """Scales and zero points as floats, which hold those of any source."""

    def rows(first: int, stop: int) -> Quantized:
        made = weight.make(first, stop)
        zero = None if made.zero_NG is None else made.zero_NG.astype(np.float32)
        return replace(made, scale_NG=made.scale_NG.astype(np.float32), zero_NG=zero)

    return rows
