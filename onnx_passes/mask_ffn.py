"""h of a feed-forward network  ->  h * Above(scores): a predictor says which neurons are computed.

The predictor of LLM in a flash (Alizadeh et al. 2024, section 3.1), scores = B (A x) + bias, as
nodes: ONNX Runtime runs the sparse model, so it says what is right. What is masked isn't read where
its weights lie in flash.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.ir.edit import Builder, add_tensor, unique_name
from onnx_passes.ir.facts import Facts, Mask
from onnx_passes.ir.graph import DOMAIN, GraphError
from onnx_passes.ir.rules import Outcome
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight
from opencl_kernels.formats import Quantized


def mask_ffn(model: ir.Model) -> Outcome:
    """Mask the networks that a compile has predictors for."""
    masks = Facts.of(model).masks
    if not masks:
        return Outcome(0)
    found, misses = find_ffns(model)
    if len(masks) != len(found):
        what = f"the calibration is of {len(masks)} feed-forward networks"
        raise GraphError(what, f"the model has {len(found)}", "calibrate it again")
    for ffn, mask in zip(found, masks, strict=True):
        if mask is not None:
            _mask(ffn, mask)
    return Outcome(sum(mask is not None for mask in masks), tuple(misses))


def _mask(ffn: Ffn, mask: Mask) -> None:
    width, depth = mask.B.codes_NK.shape[0], mask.A.codes_NK.shape[1]
    if (width, depth) != (ffn.width, ffn.depth):
        what = f"the calibration has {width} neurons of {depth} inputs"
        raise GraphError(what, f"the model has {ffn.width} of {ffn.depth}", "calibrate it again")
    before, after = Builder(_first_of(ffn)), Builder(ffn.down)
    low = before.op("MatMul", ffn.x, _weight(before, mask.A, ffn.x, "predictor.a"))
    high = _weight(before, mask.B, ffn.x, "predictor.b")
    if mask.bias is None:
        scores = before.op("MatMul", low, high)
    else:
        dtype = None if ffn.x.dtype is None else ffn.x.dtype.numpy()
        bias = before.constant(mask.bias.astype(dtype), f"{before.prefix}/predictor.bias")
        scores = before.op("Linear", low, high, bias, domain=DOMAIN)
    chosen = before.op("Above", scores, domain=DOMAIN, threshold=mask.threshold)
    ffn.down.replace_input_with(0, after.op("Mul", ffn.hidden, chosen))


def _first_of(ffn: Ffn) -> ir.Node:
    """In the graph's order: a network is lowered where it begins, with its scores before it."""
    assert isinstance(ffn.down.graph, ir.Graph)
    return next(node for node in ffn.down.graph if node in ffn.nodes)


def _weight(b: Builder, codes: Quantized, x: ir.Value, name: str) -> ir.Value:
    """Codes of [N, K] as the matrix [K, N] of a MatMul."""
    assert x.dtype is not None
    N, K = codes.codes_NK.shape
    zero = None if codes.zero_NG is None else "u8"
    rows = _rows(codes)
    weight = QuantizedWeight(N, K, codes.bits, codes.group, "f16", zero, rows)
    full = unique_name(b.graph, f"{b.prefix}/{name}")
    return add_tensor(b.graph, QuantizedTensor(weight, x.dtype, True, full))


def _rows(codes: Quantized) -> Callable[[int, int], Quantized]:
    def make(first: int, stop: int) -> Quantized:
        zero = None if codes.zero_NG is None else codes.zero_NG[first:stop]
        rows = codes.codes_NK[first:stop], codes.scale_NG[first:stop], zero
        return Quantized(*rows, codes.bits, codes.group)

    return make
