"""Weights of feed-forward networks in codes along records, where these are to lie in flash.

A record has a neuron's row of the gates, its row of the ups and its column of the last product.
Rows keep the codes that they have, with scales rounded to halves. A column's codes must run along
it, so that they are made anew: from the floats, or from what the source's codes stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import GraphError
from onnx_passes.ir.rules import Outcome
from onnx_passes.weights.e0m4 import BITS, Unquantizable
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
        made = along_rows(weight, form)
        _put(value, made, False, not holds(weight, form))
    _put(ffn.weights[-1], along_columns(down, form), True, down.floats is None)
    return True


def _put(value: ir.Value, weight: QuantizedWeight, by_column: bool, anew: bool) -> None:
    """Let a weight be another one; `by_column`: its rows are the columns of the one before."""
    tensor = quantized(value)
    assert tensor is not None
    if weight is not tensor.weight:
        told = replace(weight, make=_explained(value.name or "", weight))
        value.const_value = QuantizedTensor(told, tensor.dtype, not by_column, value.name)
    if anew:
        value.metadata_props[REQUANTIZED] = "1"


def _explained(name: str, weight: QuantizedWeight) -> Callable[[int, int], Quantized]:
    """What makes rows of a weight, with an error that says of which and what to do."""

    def make(first: int, stop: int) -> Quantized:
        try:
            return weight.make(first, stop)
        except Unquantizable as error:
            hint = "compile without --memory, or with --weights f16"
            raise GraphError(f"{name} cannot be stored in 4 bits", str(error), hint) from None

    return make
