"""h of a feed-forward network  ->  h * Above(scores): a predictor says which neurons are computed.
x and h of one  ->  x * TopMask(x), h * TopMask(h): it is computed with those of greatest magnitude.

The predictor is that of LLM in a flash (Alizadeh et al. 2024, 3.1), scores = B (A x) + bias.
Without one it is dynamic input pruning (DIP, Federici et al. 2024). As nodes, ONNX Runtime runs the
sparse model, so it says what is right. What is masked isn't read where its weights lie in flash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.ir.edit import Builder, add_tensor, unique_name
from onnx_passes.ir.facts import Density, Facts, Mask
from onnx_passes.ir.graph import DOMAIN, GraphError
from onnx_passes.ir.rules import Outcome
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight
from opencl_kernels.formats import Array, Quantized

SLOPE, SHIFT = 0.98499307, 0.29976478  # of the share of inputs, as logits


def mask_ffn(model: ir.Model) -> Outcome:
    """Mask the networks that a compile has predictors for, or all of them by a density."""
    facts = Facts.of(model)
    if not facts.masks and not facts.densities:
        return Outcome(0)
    found, misses = find_ffns(model)
    masks = facts.masks or [None] * len(found)
    densities = facts.densities * (len(found) if len(facts.densities) == 1 else 1)
    for given in (masks, densities or masks):
        if len(given) != len(found):
            what = f"the calibration is of {len(given)} feed-forward networks"
            raise GraphError(what, f"the model has {len(found)}", "calibrate it again")
    for ffn, mask in zip(found, masks, strict=True):
        if mask is not None:
            _mask(ffn, mask)
    for number, (ffn, density) in enumerate(zip(found, densities, strict=False)):
        _thin(ffn, density, facts.cached[2 * number : 2 * number + 2])
    masked = sum(mask is not None for mask in masks)
    return Outcome(masked + len(densities), tuple(misses))


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


def _thin(ffn: Ffn, density: Density, cached: Sequence[Array]) -> None:
    """Mask what its products read; `cached`: of inputs and of units, what lies in memory."""
    before, after = Builder(_first_of(ffn)), Builder(ffn.down)
    near = cached or (np.ones(ffn.depth, bool), np.ones(ffn.width, bool))
    shares = split(density.share, ffn.gate is not None)
    x = _greatest(before, ffn.x, shares[0], density.gamma, near[0])
    for product in dict.fromkeys(each.product for each in ffn.columns):
        product.replace_input_with(0, x)
    h = _greatest(after, ffn.hidden, shares[1], density.gamma, near[1])
    ffn.down.replace_input_with(0, h)


def _greatest(b: Builder, v: ir.Value, share: float, gamma: float, near: Array) -> ir.Value:
    """A value without all but this share of its elements."""
    k = count_of(share, len(near))
    if gamma == 1:
        mask = b.op("TopMask", v, domain=DOMAIN, k=k)
    else:
        cached = b.constant(near.astype(np.float32), f"{b.prefix}/cached")
        mask = b.op("TopMask", v, cached, domain=DOMAIN, overload="cached", k=k, gamma=gamma)
    return b.op("Mul", v, mask)


def split(share: float, gated: bool) -> tuple[float, float]:
    """The shares of inputs and of hidden units that together are this share of the weights.

    As DIP's authors fitted them for gated units; others have the same share of both.
    """
    if not gated or share >= 1:
        return share, share
    inputs = 1 / (1 + math.exp(-(SLOPE * math.log(share / (1 - share)) + SHIFT)))
    return inputs, min(1.0, 3 * (share - 2 / 3 * inputs))


def count_of(share: float, count: int) -> int:
    """How many of so many a density takes, rounded as in its authors' code."""
    return max(1, int(share * count))


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
