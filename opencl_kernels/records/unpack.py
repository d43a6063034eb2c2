"""Records as the weight of a product: what prefill, which takes all of them, multiplies with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.formats import BLOCK, STRIP, Array, Quantized, interleave_gate_up, padded
from opencl_kernels.kernel import (
    Argument,
    Grid,
    Kernel,
    Knobs,
    item_grid,
    local_size,
    nbytes,
)
from opencl_kernels.layouts import F16, F32, LAYOUTS, Stored, quantized, weight_arguments
from opencl_kernels.records import gathered, packing
from opencl_kernels.records.gathered import Gathered


@dataclass(frozen=True, kw_only=True)
class Unpack(Gathered):
    """The j-th record of a ticket becomes row j of a weight, of its own codes or halves.

    Or its column j: there groups of codes run across what a product takes as one, so that it
    becomes floats. What a ticket has no record for is zero.
    """

    part: int = 0
    pair: bool = False  # rows of the next part as well, interleaved by 16: gate and up
    column: Stored | None = None  # how a weight of columns is stored; None: rows

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        if self.part + self.pair >= self.PARTS or (self.column and (self.pair or self.column.bits)):
            raise ValueError("a weight is rows of a part or two, or columns of one, as floats")

    @property
    def weight(self) -> tuple[Stored, int, int]:
        """How it is stored, its rows and its columns."""
        if self.column:
            return self.column, self.D, self.T
        return self.w, 2 * padded(self.T) if self.pair else self.T, self.D


def reference(inputs: Mapping[str, Array], case: Unpack) -> dict[str, Array]:
    """Packed as any weight is."""
    _, parts = case.chosen(inputs)
    if case.column:
        w_NK = np.zeros((case.D, case.T))
        w_NK[:, : parts[0].shape[0]] = parts[case.part].T
        return _packed(case, {"w": w_NK})
    if not case.w.bits:
        return _packed(case, {"w": _rows(case, parts)})
    slots = inputs["ticket"][gathered.HEAD :: 2][: inputs["ticket"][0]]
    unpacked = packing.unpack(case.record, inputs["slots"][slots])
    codes = [each for each in unpacked if isinstance(each, Quantized)]
    arrays: dict[str, Any] = {
        "w": [each.codes_NK for each in codes],
        "scale": [each.scale_NG for each in codes],
        "zero": [each.zero_NG for each in codes],
    }
    return _packed(case, {k: _rows(case, v) for k, v in arrays.items() if v[0] is not None})


def _rows(case: Unpack, parts: list[Array]) -> Array:
    """Rows of one part or two, T of each."""
    wanted = parts[case.part : case.part + 1 + case.pair]
    full = [np.pad(each, ((0, case.T - len(each)), (0, 0))) for each in wanted]
    return interleave_gate_up(*full) if case.pair else full[0]


def _packed(case: Unpack, arrays: Mapping[str, Array]) -> dict[str, Array]:
    stored, _, columns = case.weight
    each = LAYOUTS[stored.layout].parts(stored, columns)
    return {part.argument: part.pack(arrays[part.argument]) for part in each}


def _arguments(case: Unpack) -> tuple[Argument, ...]:
    made = (replace(each, role="out") for each in weight_arguments(*case.weight))
    return (*case.gathered(), *made)


def _defines(case: Unpack, knobs: Knobs) -> Defines:
    stored, *_ = case.weight
    return {
        **gathered.defines(case),
        "T": case.T,
        "PART": case.part,
        "PAIR": int(case.pair),
        "COLUMN": int(case.column is not None),
        "W_HALF": int(stored.dtype == "f16"),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Unpack, knobs: Knobs) -> Grid:
    _, rows, columns = case.weight
    if case.column:
        return item_grid(ceil_div(rows, BLOCK) * columns, knobs)
    eights = case.w.groups(case.D) * case.w.group // 8 if case.w.bits else ceil_div(case.D, 8)
    return item_grid(ceil_div(rows, STRIP) * eights, knobs)


def _work(case: Unpack) -> tuple[int, int]:
    return case.T * case.record.part_bytes * (1 + case.pair) + nbytes(_arguments(case)[2:]), 0


E0M4, SYMMETRIC = quantized("e0m4", 32, "f16", "u8"), quantized("e0m4", 32, "f16")
SMALL: dict[str, Any] = {"S": 9, "T": 7, "F": 20}
TILE: dict[str, Any] = {"PARTS": 3, "D": 2048, "w": E0M4, "S": 512, "T": 512, "F": 5632}
UNPACK = Kernel(
    name="unpack",
    source="unpack.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,)},
)
FAMILY = Family(
    name="unpack",
    case=Unpack,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=(
        Unpack(PARTS=3, D=65, w=E0M4, pair=True, **SMALL),
        Unpack(PARTS=2, D=63, w=SYMMETRIC, part=1, column=F32, **SMALL),
        Unpack(PARTS=1, D=7, w=F16, **SMALL),
        Unpack(PARTS=3, D=65, w=F16, part=2, column=F16, **SMALL),
        Unpack(PARTS=3, D=71, w=F16, pair=True, S=40, T=37, F=65),
        Unpack(PARTS=3, D=530, w=quantized("e0m4", 16, "f16"), part=1, S=40, T=37, F=65),
        Unpack(PARTS=2, D=300, w=E0M4, part=1, column=F32, S=70, T=65, F=97),
    ),
    bench_cases=(Unpack(**TILE, pair=True), Unpack(**TILE, part=2, column=F32)),
    kernels=(UNPACK,),
)
