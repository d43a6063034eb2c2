"""Attention over KV states with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from opencl_kernels.attention import clusters
from opencl_kernels.attention.cases import (
    DECODE_BENCH,
    DECODE_CASES,
    PREFILL_BENCH,
    PREFILL_CASES,
)
from opencl_kernels.attention.heads import Heads, arguments, reference, work
from opencl_kernels.attention.tiles import DECODE_KNOBS, HALF_KNOBS, half_defines, half_grid, tiles
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
    return given | optional_defines(case)


def portable_defines(case: Heads, knobs: Knobs, prefill: bool = False) -> Defines:
    """The same of the portable kernel, whose work-groups have rows of queries."""
    given = defines(case, knobs, prefill)
    del given["QB"]
    rows = rows_per_group(case, knobs, prefill)
    return given | {"WG": knobs["WG"], "KEYS": keys_at_once(knobs), "QROWS": rows}


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


def rows_per_group(case: Heads, knobs: Knobs, prefill: bool = False) -> int:
    """Rows that share a pass over keys: QROWS at most, of one token's heads where it isn't prefill.

    Their queries take up to 8 KiB of local memory, or one row's.
    """
    most = max(1, min(knobs["QROWS"], 2048 // case.K))
    heads = case.H // case.G
    return most if prefill else ceil_div(heads, ceil_div(heads, most))


def keys_at_once(knobs: Knobs) -> int:
    """Of a tile: KEYS, or one for each work-item where these are fewer."""
    return min(knobs["KEYS"], knobs["WG"])


def portable_requires(case: Heads, knobs: Knobs, prefill: bool = False) -> Requires:
    """Local memory as attention.cl declares it: queries, a piece of the keys, weights, the rest."""
    rows, keys, items = rows_per_group(case, knobs, prefill), keys_at_once(knobs), knobs["WG"]
    sets = items // (keys // 2 if rows > 2 else keys)
    held = ceil_div(rows, sets) * sets
    queries = held * ceil_div(case.K, 4) * 4
    weights = keys * (ceil_div(held, 4) | 1) * 4
    floats = queries + 32 * (keys + 1) + weights + items + rows
    return Requires(local_bytes=4 * floats)


def in_tiles(case: Heads, knobs: Knobs, prefill: bool = False) -> Defines:
    """The same of the kernel whose operands are halves, which shares tiles among more rows."""
    given = defines(case, knobs, prefill)
    del given["QB"]
    return given | half_defines(case, knobs, prefill)


def tiles_require(case: Heads, knobs: Knobs, prefill: bool = False) -> Requires:
    """Local memory as attention_half.cl declares it."""
    return Requires(local_bytes=tiles(case, knobs, prefill).local_bytes)


def in_clusters(case: Heads, knobs: Knobs) -> Defines:
    """The same of the kernel whose work-items share keys in sub-groups."""
    given = defines(case, knobs)
    del given["QB"]
    return given | clusters.defines(case, knobs)


def reads_halves(case: Heads) -> str | None:
    """Only halves lie in local memory as they are."""
    return None if case.x == case.kv == "f16" else "q, K and V are halves"


def shared_by_many(case: Heads) -> str | None:
    """Where attention.cl would read keys and values once for some heads of theirs, then again."""
    usual = {name: values[0] for name, values in PORTABLE.items()}
    many = rows_per_group(case, usual) < case.H // case.G
    return reads_halves(case) if many else "its heads of a K/V head are few"


def prefill_grid(case: Any, knobs: Knobs) -> Grid:
    """A work-group for each block of the rows that share a K/V head, K/V head, and text."""
    rows = case.M // case.B * (case.H // case.G)
    blocks = ceil_div(rows, rows_per_group(case, knobs, prefill=True))
    return (blocks * knobs["WG"], case.G, case.B), (knobs["WG"], 1, 1)


def decode_grid(case: Any, knobs: Knobs) -> Grid:
    """A work-group for each block of a token's heads (and split), K/V head, and text."""
    blocks = ceil_div(case.H // case.G, rows_per_group(case, knobs)) * (case.SPLITS or 1)
    return (case.M // case.B * blocks * knobs["WG"], case.G, case.B), (knobs["WG"], 1, 1)


# Fewer rows, or keys, where local memory is short.
PORTABLE = {"WG": (64, 128, 32), "KEYS": (64, 32), "QROWS": (8, 4, 2)}
CLASSES = ("adreno", "mali", "generic")

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
            name="attention_prefill_half",
            source="attention_half.cl",
            classes=CLASSES,
            defines=partial(in_tiles, prefill=True),
            grid=partial(half_grid, prefill=True),
            cuts=0,
            on_processors=False,
            knobs=HALF_KNOBS,
            supports=reads_halves,
            requires=partial(tiles_require, prefill=True),
        ),
        Kernel(
            name="attention_prefill",
            source="attention.cl",
            classes=("generic",),
            defines=partial(portable_defines, prefill=True),
            grid=prefill_grid,
            cuts=0,
            knobs=PORTABLE,
            requires=partial(portable_requires, prefill=True),
        ),
    ),
    keeps_states=True,
)
IN_CLUSTERS = Kernel(
    name="attention_decode_shuffle",
    source="attention_shuffle.cl",
    classes=CLASSES,
    defines=in_clusters,
    grid=clusters.grid,
    cuts=0,
    on_processors=False,
    knobs=clusters.KNOBS,
    supports=clusters.fits_registers,
    requires=clusters.requires,
    options=clusters.OPTIONS,
)
OF_MANY_HEADS = Kernel(
    name="attention_decode_half",
    source="attention_half.cl",
    classes=CLASSES,
    defines=in_tiles,
    grid=half_grid,
    cuts=0,
    on_processors=False,
    knobs=DECODE_KNOBS,
    supports=shared_by_many,
    requires=tiles_require,
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
        IN_CLUSTERS,
        OF_MANY_HEADS,
        Kernel(
            name="attention_decode",
            source="attention.cl",
            classes=("generic",),
            defines=portable_defines,
            grid=decode_grid,
            cuts=0,
            knobs=PORTABLE,
            requires=portable_requires,
        ),
    ),
)
