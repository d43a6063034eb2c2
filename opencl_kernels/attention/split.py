"""Decode attention whose keys are shared out: one launch attends to each share, one merges them.

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


def parts_reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """The same of each share of a token's keys: weighted values, greatest score, total weight."""
    pieces, width = case["SPLITS"], case["K"] + 2
    parts = np.zeros((case["M"], case["H"], pieces, width))
    for m, b, first, end in attention.visible(case):
        share = ceil_div(max(0, end - first), pieces)
        for piece in range(pieces):
            begin = first + piece * share
            keys = np.arange(begin, min(end, begin + share))
            values_HK, top_H, total_H = attention.attend(inputs, case, m, b, keys)
            parts[m, :, piece] = np.concatenate(
                [values_HK, top_H[:, None], total_H[:, None]], axis=1
            )
    return {"parts": parts}


def merge_reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """Shares weighted by how far their greatest score lies below the greatest of all."""
    values, top, total = np.split(
        inputs["parts"].astype(np.float64), [case["K"], case["K"] + 1], -1
    )
    weights = np.exp(top - top.max(2, keepdims=True))
    total = (weights * total).sum(2)
    return {"y": (weights * values).sum(2) / np.where(total == 0, 1, total)}


def parts_shape(case: Case) -> tuple[Any, ...]:
    """Of each row, head and share: values, the greatest score, the total of the weights."""
    return case["M"], case["H"], case["SPLITS"], case["K"] + 2


def _parts_arguments(case: Case) -> tuple[Argument, ...]:
    return (*attention.arguments(case)[:3], Argument("parts", "f32", parts_shape, "out"))


def _parts_defines(case: Case, knobs: Knobs) -> Defines:
    return {**attention.defines(case, knobs), "SPLITS": case["SPLITS"]}


def _parts_work(case: Case) -> tuple[int, int]:
    moved, flops = attention.work(case)
    y = attention.arguments(case)[-1]
    return moved - nbytes((y,), case) + nbytes(_parts_arguments(case)[3:], case), flops


def _merge_arguments(case: Case) -> tuple[Argument, ...]:
    return (Argument("parts", "f32", parts_shape, "in"), attention.arguments(case)[3])


def _merge_defines(case: Case, knobs: Knobs) -> Defines:
    sizes = {name: case[name] for name in ("H", "K", "SPLITS")}
    return {**storage_defines(case, "y"), **sizes, "LOCAL": local_size(knobs)}


def _merge_grid(case: Case, knobs: Knobs) -> Grid:
    return item_grid(case["M"] * case["H"] * ceil_div(case["K"], 16), knobs)


def _merge_work(case: Case) -> tuple[int, int]:
    shares = case["M"] * case["H"] * case["SPLITS"]
    return nbytes(_merge_arguments(case), case), 2 * shares * (case["K"] + 1)


def _some_parts(case: Case) -> dict[str, Array]:
    """Parts as they come: totals of a few keys; a share without keys, and a row without any."""
    rng = np.random.default_rng(0)
    parts = rng.standard_normal(parts_shape(case)).astype(np.float32)
    parts[..., -1] = rng.uniform(1, 9, parts.shape[:-1])
    parts[0, 0, -1] = parts[-1, -1] = [*[0.0] * case["K"], attention.MASKED, 0.0]
    return {"parts": parts}


PARTS_CASES: tuple[Case, ...] = (
    {**attention.SMALL, "SPLITS": 3},
    {**attention.SMALL, "past": 1, "SPLITS": 5},  # more shares than keys
    *({**case, "SPLITS": 4} for case in attention.MIXED),
    {"M": 2, "H": 4, "G": 2, "K": 64, "C": 300, "SCALE": 0.125, "B": 2, "seq": 1, "past": 290,
     "start": (0, 291), "kv": "f16", "SPLITS": 3},  # batch row 1 sees nothing
    {"M": 1, "H": 8, "G": 1, "K": 128, "C": 640, "SCALE": 0.09, "seq": 1, "past": 639,
     "SPLITS": 8},
)  # fmt: skip
MERGE_CASES: tuple[Case, ...] = (
    {"M": 1, "H": 1, "G": 1, "K": 7, "SPLITS": 1},
    {"M": 3, "H": 5, "G": 1, "K": 65, "SPLITS": 7, "seq": 3},
    {"M": 2, "H": 4, "G": 1, "K": 64, "SPLITS": 2, "y": "f16", "seq": 1, "B": 2},
)


def _parts(name: str, knobs: Mapping[str, tuple[int, ...]]) -> Kernel:
    cpu = name.endswith("_cpu")
    return Kernel(
        name=name,
        source="attention_decode_cpu.cl" if cpu else "attention.cl",
        classes=("cpu",) if cpu else ("generic",),
        arguments=_parts_arguments,
        reference=parts_reference,
        defines=_parts_defines,
        grid=cpu_grid if cpu else attention.generic_grid,
        work=_parts_work,
        knobs=knobs,
        cases=PARTS_CASES,
        local_bytes=attention.local_bytes,
    )


ATTENTION_PARTS = _parts("attention_parts", {"WG": (64, 32), "HB": attention.HEAD_BLOCKS})
ATTENTION_PARTS_CPU = _parts("attention_parts_cpu", {"WORKERS": (8, 3)})
ATTENTION_MERGE = Kernel(
    name="attention_merge",
    source="attention_merge.cl",
    classes=("cpu", "generic"),
    arguments=_merge_arguments,
    reference=merge_reference,
    defines=_merge_defines,
    grid=_merge_grid,
    work=_merge_work,
    knobs={"WORKERS": (2, 0)},
    cases=MERGE_CASES,
    fixed=_some_parts,
)
