"""Attention over KV states with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from opencl_kernels.attention.rope_kv import States, state_argument
from opencl_kernels.case import At, Defines, c_float, ceil_div, symbols
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Grid,
    Kernel,
    Knobs,
    Requires,
    nbytes,
    storage_defines,
    worker_grid,
)

MASKED = -65504.0  # the score of no key at all, as in common.clh


@dataclass(frozen=True, kw_only=True)
class Heads(States):
    """softmax(SCALE * q k^T) v over the keys that each row sees."""

    SCALE: float = 1.0
    WINDOW: int = 0  # keys that a row sees, its own included; 0: all
    SOFTCAP: float = 0.0  # scores are SOFTCAP * tanh(score / SOFTCAP); 0: as they are
    SPLITS: int = 0  # parts of a row's keys that are attended to apart (split.py); 0: one


def reference(inputs: Mapping[str, Array], case: Heads) -> dict[str, Array]:
    """Token by token: softmax of the capped scores of the visible keys, times their values."""
    y_MHK = np.zeros(inputs["q"].shape)
    for m, b, first, end in visible(case):
        values_HK, _, total_H = attend(inputs, case, m, b, np.arange(first, end))
        y_MHK[m] = values_HK / np.maximum(total_H, 1e-30)[:, None]
    return {"y": y_MHK}


def visible(case: Heads) -> Iterator[tuple[int, int, int, int]]:
    """Of every row m: its text, and the keys that it sees, first to end."""
    seq, past, _, *start = symbols(case).tolist()
    for m in range(int(case.M)):
        b, own = m // seq, past + m % seq
        first = max(start[b], own - case.WINDOW + 1) if case.WINDOW else start[b]
        yield m, b, first, own + 1


def attend(
    inputs: Mapping[str, Array], case: Heads, m: int, b: int, keys: Array
) -> tuple[Array, Array, Array]:
    """Of each head: sum of weight * value, the greatest score, the sum of weights."""
    H, G = case.H, case.G
    if not len(keys):  # left padding, or more splits than keys
        return np.zeros((H, case.K)), np.full(H, MASKED), np.zeros(H)
    slots = keys % case.C if case.ring else keys
    k_HTK, v_HTK = (
        np.repeat(inputs[name][b, :, slots].astype(np.float64).transpose(1, 0, 2), H // G, 0)
        for name in ("k_state", "v_state")
    )
    scores_HT = np.einsum("hk,htk->ht", inputs["q"][m].astype(np.float64) * case.SCALE, k_HTK)
    if case.SOFTCAP:
        scores_HT = case.SOFTCAP * np.tanh(scores_HT / case.SOFTCAP)
    top_H = scores_HT.max(-1)
    weights_HT = np.exp(scores_HT - top_H[:, None])
    return np.einsum("ht,htk->hk", weights_HT, v_HTK), top_H, weights_HT.sum(-1)


def arguments(case: Heads) -> tuple[Argument, ...]:
    """q, both states, y."""
    return (
        Argument("q", case.x, (case.M, case.H, case.K), "in"),
        state_argument("k_state", case, "in"),
        state_argument("v_state", case, "in"),
        Argument("y", case.y, (case.M, case.H, case.K), "out"),
    )


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
    if case.SOFTCAP:
        given["SOFTCAP"] = c_float(case.SOFTCAP)
    return given


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


def work(case: Any) -> tuple[int, int]:
    """As if every token saw every key that is there: the upper bound of a window or a mask."""
    q, k_state, v_state, y = arguments(case)
    keys = case.symbols.past + case.symbols.seq
    state = nbytes((k_state, v_state)) * keys // case.C
    return nbytes((q, y)) + state, 4 * case.M * case.H * case.K * keys


SMALL = Heads(M=1, H=2, G=1, K=8, C=6, SCALE=0.35, at=At(seq=1, past=4))
MIXED = (
    Heads(M=14, H=6, G=2, K=16, C=30, SCALE=0.25, B=2, at=At(seq=7, past=3, start=(0, 6))),
    Heads(M=5, H=4, G=1, K=30, C=24, SCALE=0.2, WINDOW=17, ring=True, at=At(seq=5, past=40)),
    Heads(M=3, H=3, G=3, K=100, C=70, SCALE=0.1, kv="f16", x="f16", y="f16", SOFTCAP=5.0,
          at=At(seq=3, past=65)),
)  # fmt: skip
PREFILL_CASES = (
    replace(SMALL, M=3, at=At(seq=3)),
    *MIXED,
    Heads(M=65, H=2, G=2, K=64, C=200, SCALE=0.125, kv="f16", at=At(seq=65, past=63)),
    Heads(M=37, H=4, G=2, K=128, C=37, SCALE=0.09, WINDOW=7, at=At(seq=37, start=(20,))),
)
DECODE_CASES = (
    SMALL,
    *MIXED,
    Heads(M=2, H=4, G=2, K=64, C=130, SCALE=0.125, B=2, kv="f16",
          at=At(seq=1, past=128, start=(0, 100))),
    Heads(M=1, H=8, G=1, K=128, C=64, SCALE=0.09, WINDOW=63, ring=True, at=At(seq=1, past=500)),
    Heads(M=1, H=7, G=1, K=100, C=33, SCALE=0.1, at=At(seq=1, past=31)),
)  # fmt: skip
SHORT = Heads(M=512, H=12, G=4, K=64, C=2048, SCALE=0.125, at=At(seq=512))
LONG = replace(SHORT, M=1, C=8192, at=At(seq=1, past=8191))
PREFILL_BENCH = (
    SHORT,
    replace(SHORT, at=At(seq=512, past=1536)),
    replace(LONG, M=256, kv="f16", at=At(seq=256, past=7936)),
)
DECODE_BENCH = (
    replace(SHORT, M=1, at=At(seq=1, past=511)),
    LONG,
    replace(LONG, kv="f16"),
    replace(LONG, H=32, G=8, K=128, SCALE=0.088, kv="f16"),
)
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
