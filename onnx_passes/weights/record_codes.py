"""Codes whose groups run along records: rows or columns of a weight that a table in flash holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onnx_passes.weights.e0m4 import BITS, HALF_MAX, HALF_NORMAL, quantize
from onnx_passes.weights.lazy import part
from onnx_passes.weights.quantized import QuantizedWeight
from opencl_kernels.formats import Array, Quantized

ROWS = 1024  # of a weight that are decoded at a time, where columns of it are wanted


def along_records(
    weight_NK: Array | Quantized,
    group: int,
    symmetric: bool = False,
    columns: bool = False,
    importance: Array | None = None,
) -> tuple[Quantized, bool]:
    """Records [N, K] in E0M4, or [K, N] of its columns; whether codes that it had were made anew.

    Codes that a weight has are kept where their groups, or halves of these and so on, are groups
    of the record: columns never do. Scales become halves, if that loses no more than rounding.
    `importance`: of an element of a record, as `quantize` has it.
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
    """Zero points must be integers; where there are none, the middle is one."""
    halves = codes.bits == BITS and _are_halves(codes.scale_NG)
    zeros = codes.zero_NG is None or (not symmetric and codes.zero_NG.dtype == np.uint8)
    return halves and zeros and codes.group % group == 0


def _are_halves(scale_NG: Array) -> bool:
    """Whether float16 has all digits of its own for them."""
    if scale_NG.dtype == np.float16:
        return True
    size = np.abs(scale_NG[scale_NG != 0])
    return bool(((size >= HALF_NORMAL) & (size <= HALF_MAX)).all())


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
    return Quantized(codes.codes_NK, scale.astype(np.float16), zero, BITS, group)


class Form(NamedTuple):
    """How all parts of a record are coded."""

    group: int
    symmetric: bool

    @property
    def zero(self) -> str | None:
        """The type of zero points, as QuantizedWeight has it."""
        return None if self.symmetric else "u8"


def holds(weight: QuantizedWeight, form: Form) -> bool:
    """Whether records have the codes of a weight's rows, but for scales that halves don't hold."""
    zeros = weight.zero is None or (weight.zero == "u8" and not form.symmetric)
    return weight.bits == BITS and zeros and weight.group % form.group == 0


def along_rows(weight: QuantizedWeight, form: Form) -> QuantizedWeight:
    """A weight whose rows lie in records; itself, where it has their form."""
    coded = (BITS, form.group, "f16", form.zero)
    if (weight.bits, weight.group, weight.scale, weight.zero) == coded:
        return weight

    def make(first: int, stop: int) -> Quantized:
        return along_records(weight.make(first, stop), form.group, form.symmetric)[0]

    return QuantizedWeight(weight.N, weight.K, *coded, make, weight.floats)


def along_columns(
    weight: QuantizedWeight, form: Form, begin: int = 0, length: int | None = None
) -> QuantizedWeight:
    """A weight [K, N] whose rows are the columns of W[N, K], in codes along them.

    begin, length  of the rows of W that it has; None: to the last
    """
    origin, end = weight.origin, weight.N if length is None else begin + length

    def floats(first: int, stop: int) -> Array:
        if origin is not None:
            return part(origin, 0, first, stop)[:, begin:end].astype(np.float32)
        return _columns(weight, first, stop, begin, end)

    def make(first: int, stop: int) -> Quantized:
        return quantize(floats(first, stop), form.group, symmetric=form.symmetric)

    coded = (BITS, form.group, "f16", form.zero)
    made_here = None if origin is None else floats
    return QuantizedWeight(weight.K, end - begin, *coded, make, made_here)


def _columns(weight: QuantizedWeight, first: int, stop: int, begin: int, end: int) -> Array:
    """Columns [first, stop) of rows [begin, end) of W[N, K] as rows, some of W's at a time."""
    group, found = weight.group, list[Array]()
    left, right = first // group, -(-stop // group)
    for row in range(begin, end, ROWS):
        made = weight.make(row, min(row + ROWS, end))
        per_group = (made.scale_NG, made.zero_NG)
        scale, zero = (None if each is None else each[:, left:right] for each in per_group)
        assert scale is not None
        codes = made.codes_NK[:, left * group : right * group]
        values = Quantized(codes, scale, zero, made.bits, group).values()
        found.append(values[:, first - left * group : stop - left * group])
    return np.ascontiguousarray(np.concatenate(found).T)
