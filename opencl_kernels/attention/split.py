"""Decode attention over splits of the keys (split-KV): one launch attends, one combines.

For long contexts on devices that a few K/V heads do not fill (Dao et al. 2023, "Flash-Decoding").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from opencl_kernels.attention import attention
from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Case,
    Defines,
    Grid,
    Kernel,
    Knobs,
    ceil_div,
    cpu_grid,
    item_grid,
    local_size,
    nbytes,
    storage_defines,
)


def split_reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """The same of each split of a token's keys: weighted values, greatest score, total weight."""
    count, width = case["SPLITS"], case["K"] + 2
    splits = np.zeros((case["M"], case["H"], count, width))
    for m, b, first, end in attention.visible(case):
        most = ceil_div(max(0, end - first), count)
        for split in range(count):
            begin = first + split * most
            keys = np.arange(begin, min(end, begin + most))
            values_HK, top_H, total_H = attention.attend(inputs, case, m, b, keys)
            splits[m, :, split] = np.concatenate(
                [values_HK, top_H[:, None], total_H[:, None]], axis=1
            )
    return {"splits": splits}


def combine_reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """Splits weighted by how far their greatest score lies below the greatest of all."""
    values, top, total = np.split(
        inputs["splits"].astype(np.float64), [case["K"], case["K"] + 1], -1
    )
    weights = np.exp(top - top.max(2, keepdims=True))
    total = (weights * total).sum(2)
    return {"y": (weights * values).sum(2) / np.where(total == 0, 1, total)}


def splits_shape(case: Case) -> tuple[Any, ...]:
    """Of each row, head and split: values, the greatest score, the total of the weights."""
    return case["M"], case["H"], case["SPLITS"], case["K"] + 2


def _split_arguments(case: Case) -> tuple[Argument, ...]:
    return (*attention.arguments(case)[:3], Argument("splits", "f32", splits_shape, "out"))


def _split_defines(case: Case, knobs: Knobs) -> Defines:
    return {**attention.defines(case, knobs), "SPLITS": case["SPLITS"]}


def _split_work(case: Case) -> tuple[int, int]:
    moved, flops = attention.work(case)
    y = attention.arguments(case)[-1]
    return moved - nbytes((y,), case) + nbytes(_split_arguments(case)[3:], case), flops


def _combine_arguments(case: Case) -> tuple[Argument, ...]:
    return (Argument("splits", "f32", splits_shape, "in"), attention.arguments(case)[3])


def _combine_defines(case: Case, knobs: Knobs) -> Defines:
    sizes = {name: case[name] for name in ("H", "K", "SPLITS")}
    return {**storage_defines(case, "y"), **sizes, "LOCAL": local_size(knobs)}


def _combine_grid(case: Case, knobs: Knobs) -> Grid:
    return item_grid(case["M"] * case["H"] * ceil_div(case["K"], 16), knobs)


def _combine_work(case: Case) -> tuple[int, int]:
    splits = case["M"] * case["H"] * case["SPLITS"]
    return nbytes(_combine_arguments(case), case), 2 * splits * (case["K"] + 1)


def _some_splits(case: Case) -> dict[str, Array]:
    """Splits as they come: totals of a few keys; one without keys, and a row without any."""
    rng = np.random.default_rng(0)
    splits = rng.standard_normal(splits_shape(case)).astype(np.float32)
    splits[..., -1] = rng.uniform(1, 9, splits.shape[:-1])
    splits[0, 0, -1] = splits[-1, -1] = [*[0.0] * case["K"], attention.MASKED, 0.0]
    return {"splits": splits}


SPLIT_CASES: tuple[Case, ...] = (
    {**attention.SMALL, "SPLITS": 3},
    {**attention.SMALL, "past": 1, "SPLITS": 5},  # more splits than keys
    *({**case, "SPLITS": 4} for case in attention.MIXED),
    {"M": 2, "H": 4, "G": 2, "K": 64, "C": 300, "SCALE": 0.125, "B": 2, "seq": 1, "past": 290,
     "start": (0, 291), "kv": "f16", "SPLITS": 3},  # batch row 1 sees nothing
    {"M": 1, "H": 8, "G": 1, "K": 128, "C": 640, "SCALE": 0.09, "seq": 1, "past": 639,
     "SPLITS": 8},
)  # fmt: skip
COMBINE_CASES: tuple[Case, ...] = (
    {"M": 1, "H": 1, "G": 1, "K": 7, "SPLITS": 1},
    {"M": 3, "H": 5, "G": 1, "K": 65, "SPLITS": 7, "seq": 3},
    {"M": 2, "H": 4, "G": 1, "K": 64, "SPLITS": 2, "y": "f16", "seq": 1, "B": 2},
)


def _split(name: str, knobs: Mapping[str, tuple[int, ...]]) -> Kernel:
    cpu = name.endswith("_cpu")
    return Kernel(
        name=name,
        source="attention_decode_cpu.cl" if cpu else "attention.cl",
        classes=("cpu",) if cpu else ("generic",),
        arguments=_split_arguments,
        reference=split_reference,
        defines=_split_defines,
        grid=cpu_grid if cpu else attention.generic_grid,
        work=_split_work,
        knobs=knobs,
        cases=SPLIT_CASES,
        local_bytes=attention.local_bytes,
    )


ATTENTION_SPLIT = _split("attention_split", {"WG": (64, 32), "HB": attention.HEAD_BLOCKS})
ATTENTION_SPLIT_CPU = _split("attention_split_cpu", {"WORKERS": (8, 3)})
ATTENTION_COMBINE = Kernel(
    name="attention_combine",
    source="attention_combine.cl",
    classes=("cpu", "generic"),
    arguments=_combine_arguments,
    reference=combine_reference,
    defines=_combine_defines,
    grid=_combine_grid,
    work=_combine_work,
    knobs={"WORKERS": (2, 0)},
    cases=COMBINE_CASES,
    fixed=_some_splits,
)
