"""Quantised weights of equal depth as one, rows below rows, without changing a value.

4 bits among 8 get wider words, coarse groups repeat their scale, scales and zero points take the
widest type among them, and a zero point that was understood is written out where others have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from onnx_passes.weights.quantized import QuantizedWeight
from opencl_kernels.formats import Array, Quantized, numpy_dtype


class _Form(NamedTuple):
    """How a weight is quantised, as QuantizedWeight has it."""

    bits: int
    group: int
    scale: str
    zero: str | None


def stacked(weights: Sequence[QuantizedWeight]) -> QuantizedWeight | None:
    """One weight [sum of N, K], made by rows; None where depths differ."""
    if len({weight.K for weight in weights}) != 1:
        return None
    form = _common_form(weights)
    starts = np.cumsum([0, *(weight.N for weight in weights)]).tolist()

    def make(first: int, stop: int) -> Quantized:
        parts = [
            _in_form(weight.make(max(first, a) - a, min(stop, b) - a), form)
            for weight, a, b in zip(weights, starts, starts[1:], strict=False)
            if max(first, a) < min(stop, b)
        ]
        zeros = [part.zero_NG for part in parts if part.zero_NG is not None]
        return Quantized(
            np.concatenate([part.codes_NK for part in parts]),
            np.concatenate([part.scale_NG for part in parts]),
            np.concatenate(zeros) if zeros else None,
            form.bits,
            form.group,
        )

    return QuantizedWeight(starts[-1], weights[0].K, *form, make)


def _common_form(weights: Sequence[QuantizedWeight]) -> _Form:
    bits = {weight.bits for weight in weights}
    zeros = [weight.zero for weight in weights]
    # the zero point that is understood differs with the bits
    zero = _widest(zeros if len(bits) == 1 else [*zeros, "u8"])
    scale = _widest(weight.scale for weight in weights)
    return _Form(max(bits), min(weight.group for weight in weights), scale or "f32", zero)


def _widest(types: Iterable[str | None]) -> str | None:
    """The type that holds all the others exactly."""
    return max(types, key=(None, "u8", "f16", "f32").index)


def _in_form(part: Quantized, form: _Form) -> Quantized:
    """The same rows in a form at least as wide."""
    groups, repeats = -(-part.codes_NK.shape[1] // form.group), part.group // form.group

    def finer(per_group: Array, dtype: str) -> Array:
        return np.repeat(per_group.astype(numpy_dtype(dtype)), repeats, axis=1)[:, :groups]

    zeros = part.zero_NG
    if zeros is None and form.zero is not None:
        zeros = np.full(part.scale_NG.shape, 2 ** (part.bits - 1), np.uint8)
    finer_zeros = None if zeros is None or form.zero is None else finer(zeros, form.zero)
    return Quantized(
        part.codes_NK, finer(part.scale_NG, form.scale), finer_zeros, form.bits, form.group
    )
