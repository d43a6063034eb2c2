"""Codes whose groups run along records: rows or columns of a weight that a table in flash holds."""

from __future__ import annotations

import numpy as np

from onnx_passes.weights.e0m4 import BITS, quantize
from opencl_kernels.formats import Array, Quantized


def along_records(
    weight_NK: Array | Quantized,
    group: int,
    symmetric: bool = False,
    columns: bool = False,
    importance: Array | None = None,
) -> tuple[Quantized, bool]:
    """Records [N, K] in E0M4, or [K, N] of its columns; whether codes that it had were made anew.

    Codes that a weight has are kept where their groups, or halves of these and so on, are groups
    of the record: columns never do. `importance`: of an element of a record, as `quantize` has it.
    """
    if not isinstance(weight_NK, Quantized):
        return quantize(_records(weight_NK, columns), group, importance, symmetric), False
    if not columns and _coincides(weight_NK, group, symmetric):
        return _in_groups(weight_NK, group, symmetric), False
    records = _records(weight_NK.values(), columns)
    return quantize(records, group, importance, symmetric), True


def _records(values_NK: Array, columns: bool) -> Array:
    return values_NK.T if columns else values_NK


def _coincides(codes: Quantized, group: int, symmetric: bool) -> bool:
    """Scales must be halves, and zero points integers; where there are none, the middle is one."""
    halves = codes.bits == BITS and codes.scale_NG.dtype == np.float16
    zeros = codes.zero_NG is None or (not symmetric and codes.zero_NG.dtype == np.uint8)
    return halves and zeros and codes.group % group == 0


def _in_groups(codes: Quantized, group: int, symmetric: bool) -> Quantized:
    groups = -(-codes.codes_NK.shape[1] // group)
    zero_NG = codes.zero_NG
    if zero_NG is None and not symmetric:
        zero_NG = np.full(codes.scale_NG.shape, 2 ** (BITS - 1), np.uint8)
    scale, zero = (
        None if each is None else np.repeat(each, codes.group // group, axis=1)[:, :groups]
        for each in (codes.scale_NG, zero_NG)
    )
    assert scale is not None
    return Quantized(codes.codes_NK, scale, zero, BITS, group)
