"""Weights of feed-forward networks in codes along records, where these are to lie in flash.

A record has a neuron's row of the gates, its row of the ups and its column of the last product.
Rows keep the codes that they have, with scales rounded to halves. A column's codes must run along
it, so that they are made anew: from the floats, or from what the source's codes stand for. Of
networks that are computed with some of their inputs, records have columns of all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnx_passes.analysis.ffn import Columns, Ffn, find_ffns
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import GraphError
from onnx_passes.ir.rules import Outcome
from onnx_passes.weights.e0m4 import BITS, Unquantizable
from onnx_passes.weights.lazy import Concat
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight, quantized
from onnx_passes.weights.record_codes import Form, along_columns, along_rows, holds
from opencl_kernels.formats import Quantized

REQUANTIZED = "pocket.requantized"  # metadata of a weight whose own codes were made anew


def code_records(model: ir.Model) -> Outcome:
    """Replace the weights of each network whose records will be codes."""
    facts = Facts.of(model)
    if not facts.records or facts.weights not in ("source", "e0m4"):
        return Outcome(0)
    found, misses = find_ffns(model)
    return Outcome(sum(map(_code, found)), tuple(misses))


def _code(ffn: Ffn) -> bool:
    """Whether the weights are codes that records can have; afterwards they are such."""
    tensors = [quantized(value) for value in ffn.weights]
    coded = [each for each in tensors if each is not None and each.weight.bits == BITS]
    if len(coded) < len(tensors):
        return False
    *rows, down = (tensor.weight for tensor in coded)
    form = Form(min(w.group for w in rows), all(w.zero is None for w in rows))
    for value, weight in zip(ffn.weights, rows, strict=False):
        if ffn.tops:
            _put_columns(value, weight, [c for c in ffn.columns if c.weight is value], form)
        else:
            _put(value, along_rows(weight, form), False, not holds(weight, form))
    _put(ffn.weights[-1], along_columns(down, form), True, down.floats is None)
    return True


def _put_columns(
    value: ir.Value, weight: QuantizedWeight, halves: Sequence[Columns], form: Form
) -> None:
    """Let a weight be columns of its own codes; gates and ups side by side have groups each."""
    tensor = quantized(value)
    assert tensor is not None
    name, ordered = value.name or "", sorted(halves, key=lambda half: half.first)
    parts = [
        QuantizedTensor(_told(name, made), tensor.dtype, False, name)
        for made in (along_columns(weight, form, h.first, h.width) for h in ordered)
    ]
    value.const_value = parts[0] if len(parts) == 1 else Concat(parts, name)
    if weight.floats is None:
        value.metadata_props[REQUANTIZED] = "1"


def _put(value: ir.Value, weight: QuantizedWeight, by_column: bool, anew: bool) -> None:
    """Let a weight be another one; `by_column`: its rows are the columns of the one before."""
    tensor = quantized(value)
    assert tensor is not None
    if weight is not tensor.weight:
        told = _told(value.name or "", weight)
        value.const_value = QuantizedTensor(told, tensor.dtype, not by_column, value.name)
    if anew:
        value.metadata_props[REQUANTIZED] = "1"


def _told(name: str, weight: QuantizedWeight) -> QuantizedWeight:
    """The same, with an error of what makes its rows that says of which and what to do."""

    def make(first: int, stop: int) -> Quantized:
        try:
            return weight.make(first, stop)
        except Unquantizable as error:
            hint = "compile without --memory, or with --weights f16"
            raise GraphError(f"{name} cannot be stored in 4 bits", str(error), hint) from None

    return replace(weight, make=make)
