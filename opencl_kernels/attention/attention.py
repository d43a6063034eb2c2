"""Attention over KV states with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from opencl_kernels.attention.cases import (
    DECODE_BENCH,
    DECODE_CASES,
    PREFILL_BENCH,
    PREFILL_CASES,
)
from opencl_kernels.attention.heads import Heads, arguments, reference, work
from opencl_kernels.case import Defines, c_float, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.kernel import Grid, Kernel, Knobs, Requires, storage_defines, worker_grid
from opencl_kernels.map.expression import Node, in_c


def defines(case: Heads, knobs: Knobs, prefill: bool = False) -> Defines:
    """Sizes, masks and storage of attention."""
    given: Defines = {
        **storage_defines(case, "x", "y", "kv"),
        **{name: getattr(case, name) for name in ("H", "G", "K", "C", "B")},
        "SCALE": c_float(case.SCALE),
        "WINDOW": case.WINDOW,
        "RING": int(case.ring),
        "PREFILL": int(prefill),
        "QB": knobs.get("QB", 1),
        "SPLITS": case.SPLITS,
    }
    if "WG" in knobs:
        given |= {"HB": heads_per_group(case, knobs), "WG": knobs["WG"]}
    return given | optional_defines(case)


def optional_defines(case: Heads) -> Defines:
    """Those of what few models have: inputs, a score, a sink, values of another width."""
    given = width_define(case)
    if case.inputs:
        given |= case.operand_defines()
    if case.score:
        given |= {"SCORED": 1, **_expression_defines("SCORE", case.scored)}
    if case.sink:
        given |= {"SINKS": 1, **_expression_defines("SINK", case.read(case.sink))}
    return given


def width_define(case: Heads) -> Defines:
    """V where it is not K."""
    return {"V": case.V} if case.value_width != case.K else {}


def _expression_defines(name: str, node: Node) -> Defines:
    source = in_c(node)
    return {f"{name}_LETS": source.lets, name: source.value}


def heads_per_group(case: Heads, knobs: Knobs) -> int:
    """Query heads of a work-group, of those that share a K/V head: HB, all where it is 0."""
    heads = case.H // case.G
    return min(knobs["HB"], heads) or heads


def requires(case: Heads, knobs: Knobs) -> Requires:
    """Of each query row its K floats, WG weights of keys, the greatest score, the shrinking."""
    rows = knobs.get("QB", 1) * heads_per_group(case, knobs)
    return Requires(local_bytes=rows * (case.K + knobs["WG"] + 2) * 4)


def portable_grid(case: Any, knobs: Knobs) -> Grid:
    """A work-group for each token block (and split), block of a K/V head's heads, and text."""
    blocks = ceil_div(case.M // case.B, knobs.get("QB", 1)) * (case.SPLITS or 1)
    head_blocks = case.G * ceil_div(case.H // case.G, heads_per_group(case, knobs))
    return (blocks * knobs["WG"], head_blocks, case.B), (knobs["WG"], 1, 1)


HEAD_BLOCKS = (0, 16, 8, 4)  # HB: fewer heads where all of a K/V head are too much for local memory

PREFILL = Family(
    name="attention_prefill",
    case=Heads,
    arguments=arguments,
    reference=reference,
    work=work,
    cases=PREFILL_CASES,
    bench_cases=PREFILL_BENCH,
    kernels=(
        Kernel(
            name="attention_prefill_cpu",
            source="attention_prefill_cpu.cl",
            classes=("cpu",),
            defines=partial(defines, prefill=True),
            grid=worker_grid,
            knobs={"WORKERS": (4, 3), "QB": (16, 8)},
        ),
        Kernel(
            name="attention_prefill",
            source="attention.cl",
            classes=("generic",),
            defines=partial(defines, prefill=True),
            grid=portable_grid,
            knobs={"WG": (64, 32), "QB": (4, 2, 1), "HB": HEAD_BLOCKS},
            requires=requires,
        ),
    ),
    keeps_states=True,
)
DECODE = replace(  # the same contract for one token of each text
    PREFILL,
    name="attention_decode",
    cases=DECODE_CASES,
    bench_cases=DECODE_BENCH,
    kernels=(
        Kernel(
            name="attention_decode_cpu",
            source="attention_decode_cpu.cl",
            classes=("cpu",),
            defines=defines,
            grid=worker_grid,
            knobs={"WORKERS": (8, 3)},
        ),
        Kernel(
            name="attention_decode",
            source="attention.cl",
            classes=("generic",),
            defines=defines,
            grid=portable_grid,
            knobs={"WG": (64, 32), "HB": HEAD_BLOCKS},
            requires=requires,
        ),
    ),
)
