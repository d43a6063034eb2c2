"""Decode attention whose keys are split: one launch attends to each split, one combines them.

For long contexts on devices that a few K/V heads do not fill (Dao et al. 2023, "Flash-Decoding").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from opencl_kernels.attention import attention, cases, heads
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At, Defines, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Grid,
    Kernel,
    Knobs,
    Role,
    item_grid,
    local_size,
    nbytes,
    storage_defines,
    worker_grid,
)


def split_reference(inputs: Mapping[str, Array], case: Heads) -> dict[str, Array]:
    """The same of each split of a token's keys: weighted values, greatest score, total weight."""
    splits = np.zeros(splits_shape(case))
    for m, b, first, end in heads.visible(case):
        length = ceil_div(max(0, end - first), case.SPLITS)
        for split in range(case.SPLITS):
            begin = first + split * length
            keys = np.arange(begin, min(end, begin + length))
            found = heads.attend(inputs, case, m, b, keys, sink=split == 0)
            splits[m, :, split] = np.column_stack(found)
    return {"splits": splits}


def combine_reference(inputs: Mapping[str, Array], case: Heads) -> dict[str, Array]:
    """Splits weighted by how far their greatest score lies below the greatest of all."""
    columns = [case.value_width, case.value_width + 1]
    values, top, total = np.split(inputs["splits"].astype(np.float64), columns, -1)
    weights = np.exp(top - top.max(2, keepdims=True))
    total = (weights * total).sum(2)
    return {"y": (weights * values).sum(2) / np.where(total == 0, 1, total)}


def splits_shape(case: Heads) -> tuple[Any, ...]:
    """Of each row, head and split: values, the greatest score, the total of the weights."""
    return case.M, case.H, case.SPLITS, case.value_width + 2


def _splits(case: Heads, role: Role) -> Argument:
    return Argument("splits", "f32", splits_shape(case), role)


def _split_arguments(case: Heads) -> tuple[Argument, ...]:
    return (*heads.arguments(case)[:-1], _splits(case, "out"))


def _split_work(case: Heads) -> tuple[int, int]:
    moved, flops = heads.work(case)
    y = heads.arguments(case)[-1]
    return moved - nbytes((y,)) + nbytes((_splits(case, "out"),)), flops


def _combine_arguments(case: Heads) -> tuple[Argument, ...]:
    return (_splits(case, "in"), heads.arguments(case)[-1])


def _combine_defines(case: Heads, knobs: Knobs) -> Defines:
    sizes = {name: getattr(case, name) for name in ("H", "K", "SPLITS")}
    width = attention.width_define(case)
    return {**storage_defines(case, "y"), **sizes, "LOCAL": local_size(knobs), **width}


def _combine_grid(case: Heads, knobs: Knobs) -> Grid:
    return item_grid(case.M * case.H * ceil_div(case.value_width, 16), knobs)


def _combine_work(case: Any) -> tuple[int, int]:
    splits = case.M * case.H * case.SPLITS
    return nbytes(_combine_arguments(case)), 2 * splits * (case.value_width + 1)


def _some_splits(case: Heads) -> dict[str, Array]:
    """Splits as they come: totals of a few keys; a split without keys, and a row without any."""
    rng = np.random.default_rng(0)
    splits = rng.standard_normal(splits_shape(case)).astype(np.float32)
    splits[..., -1] = rng.uniform(1, 9, splits.shape[:-1])
    splits[0, 0, -1] = splits[-1, -1] = [*[0.0] * case.value_width, heads.MASKED, 0.0]
    return {"splits": splits}


BENCH_CASES = tuple(replace(case, SPLITS=4) for case in cases.DECODE_BENCH[1:])

SPLIT = Family(
    name="attention_split",
    case=Heads,
    arguments=_split_arguments,
    reference=split_reference,
    work=_split_work,
    cases=(
        replace(cases.SMALL, SPLITS=3),
        replace(cases.SMALL, at=At(seq=1, past=1), SPLITS=5),  # more splits than keys
        *(replace(case, SPLITS=4) for case in (*cases.MIXED, *cases.SCORED)),
        *(replace(case, SPLITS=3) for case in cases.DECODE_IN_HALVES),
        Heads(M=2, H=4, G=2, K=64, C=300, SCALE=0.125, B=2, kv="f16", SPLITS=3,
              at=At(seq=1, past=290, start=(0, 291))),  # text 1 sees nothing
        Heads(M=1, H=8, G=1, K=128, C=640, SCALE=0.09, SPLITS=8, at=At(seq=1, past=639)),
    ),
    bench_cases=BENCH_CASES,
    kernels=(
        Kernel(
            name="attention_split_cpu",
            source="attention_decode_cpu.cl",
            classes=("cpu",),
            defines=attention.defines,
            grid=worker_grid,
            knobs={"WORKERS": (8, 3)},
        ),
        replace(attention.IN_CLUSTERS, name="attention_split_shuffle"),
        replace(attention.OF_MANY_HEADS, name="attention_split_half"),
        Kernel(
            name="attention_split",
            source="attention.cl",
            classes=("generic",),
            defines=attention.portable_defines,
            grid=attention.decode_grid,
            cuts=0,
            knobs=attention.PORTABLE,
            requires=attention.portable_requires,
        ),
    ),
    keeps_states=True,
)  # fmt: skip
COMBINE = Family(
    name="attention_combine",
    case=Heads,
    arguments=_combine_arguments,
    reference=combine_reference,
    work=_combine_work,
    cases=(
        Heads(M=1, H=1, G=1, K=7, SPLITS=1),
        Heads(M=3, H=5, G=1, K=65, SPLITS=7, at=At(seq=3)),
        Heads(M=1, H=3, G=3, K=40, V=21, SPLITS=3),
        Heads(M=2, H=4, G=1, K=64, SPLITS=2, y="f16", B=2, at=At(seq=1)),
    ),
    bench_cases=BENCH_CASES,
    kernels=(
        Kernel(
            name="attention_combine",
            source="attention_combine.cl",
            classes=("cpu", "generic"),
            defines=_combine_defines,
            grid=_combine_grid,
            knobs={"WORKERS": (0,)},
        ),
    ),
    inputs=_some_splits,
)
