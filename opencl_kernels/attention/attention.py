"""Attention over KV states with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from opencl_kernels.attention.rope_kv import state_shape
from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Case,
    Defines,
    Grid,
    Kernel,
    Knobs,
    c_float,
    ceil_div,
    cpu_grid,
    nbytes,
    storage_defines,
    symbols,
)

MASKED = -65504.0  # the score of no key at all, as in common.clh


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """Token by token: softmax of the capped scores of the visible keys, times their values."""
    y_MHK = np.zeros(inputs["q"].shape)
    for m, b, first, end in visible(case):
        values_HK, _, total_H = attend(inputs, case, m, b, np.arange(first, end))
        y_MHK[m] = values_HK / np.maximum(total_H, 1e-30)[:, None]
    return {"y": y_MHK}


def visible(case: Case) -> Iterator[tuple[int, int, int, int]]:
    """Of every row m: its batch row, and the keys that it sees, first to end."""
    seq, past, _, *start = symbols(case).tolist()
    for m in range(case["M"]):
        b, self = m // seq, past + m % seq
        window = case.get("WINDOW")
        yield m, b, max(start[b], self - window + 1) if window else start[b], self + 1


def attend(
    inputs: Mapping[str, Array], case: Case, m: int, b: int, keys: Array
) -> tuple[Array, Array, Array]:
    """Of each head: sum of weight * value, the greatest score, the sum of weights."""
    H, G, C = case["H"], case["G"], case["C"]
    if not len(keys):  # left padding, or more splits than keys
        return np.zeros((H, case["K"])), np.full(H, MASKED), np.zeros(H)
    slots = keys % C if case.get("RING") else keys
    k_HTK, v_HTK = (
        np.repeat(inputs[name][b, :, slots].astype(np.float64).transpose(1, 0, 2), H // G, 0)
        for name in ("k_state", "v_state")
    )
    scores_HT = np.einsum("hk,htk->ht", inputs["q"][m].astype(np.float64) * case["SCALE"], k_HTK)
    if case.get("SOFTCAP"):
        scores_HT = case["SOFTCAP"] * np.tanh(scores_HT / case["SOFTCAP"])
    top_H = scores_HT.max(-1)
    weights_HT = np.exp(scores_HT - top_H[:, None])
    return np.einsum("ht,htk->hk", weights_HT, v_HTK), top_H, weights_HT.sum(-1)


def arguments(case: Case) -> tuple[Argument, ...]:
    """q, both states, y."""
    return (
        Argument("q", "x", lambda c: (c["M"], c["H"], c["K"]), "in"),
        Argument("k_state", "kv", state_shape, "in"),
        Argument("v_state", "kv", state_shape, "in"),
        Argument("y", "y", lambda c: (c["M"], c["H"], c["K"]), "out"),
    )


def defines(case: Case, knobs: Knobs, prefill: bool = False) -> Defines:
    """Sizes, masks and storage of attention."""
    given: Defines = {
        **storage_defines(case, "x", "y", "kv"),
        **{name: case[name] for name in ("H", "G", "K", "C")},
        "B": case.get("B", 1),
        "SCALE": c_float(case["SCALE"]),
        "WINDOW": int(case.get("WINDOW", 0)),
        "RING": int(case.get("RING", 0)),
        "PREFILL": int(prefill),
        "QB": knobs.get("QB", 1),
        "SPLITS": case.get("SPLITS", 0),
    }
    if "WG" in knobs:
        given |= {"HB": heads_per_group(case, knobs), "WG": knobs["WG"]}
    if case.get("SOFTCAP"):
        given["SOFTCAP"] = c_float(case["SOFTCAP"])
    return given


def heads_per_group(case: Case, knobs: Knobs) -> int:
    """Query heads of a work-group, of those that share a K/V head: HB, all where it is 0."""
    heads = int(case["H"]) // int(case["G"])
    return min(knobs["HB"], heads) or heads


def local_bytes(case: Case, knobs: Knobs) -> int:
    """Of each query row its K floats, WG weights of keys, the greatest score, the shrinking."""
    if "WG" not in knobs:  # class cpu
        return 0
    rows = knobs.get("QB", 1) * heads_per_group(case, knobs)
    return rows * (int(case["K"]) + knobs["WG"] + 2) * 4


def generic_grid(case: Case, knobs: Knobs) -> Grid:
    """A work-group for each token block (and split), block of a K/V head's heads, and batch row."""
    batch = case.get("B", 1)
    blocks = ceil_div(case["M"] // batch, knobs.get("QB", 1)) * (case.get("SPLITS") or 1)
    heads = case["G"] * ceil_div(case["H"] // case["G"], heads_per_group(case, knobs))
    return (blocks * knobs["WG"], heads, batch), (knobs["WG"], 1, 1)


def work(case: Case) -> tuple[int, int]:
    """As if every token saw every key that is there: the upper bound of a window or a mask."""
    q, k_state, v_state, y = arguments(case)
    keys = case.get("past", 0) + case.get("seq", 1)
    state = nbytes((k_state, v_state), case) * keys // case["C"]
    return nbytes((q, y), case) + state, 4 * case["M"] * case["H"] * case["K"] * keys


SMALL: Case = {"M": 1, "H": 2, "G": 1, "K": 8, "C": 6, "SCALE": 0.35, "seq": 1, "past": 4}
MIXED: tuple[Case, ...] = (
    {"M": 14, "H": 6, "G": 2, "K": 16, "C": 30, "SCALE": 0.25, "B": 2, "seq": 7, "past": 3,
     "start": (0, 6)},
    {"M": 5, "H": 4, "G": 1, "K": 30, "C": 24, "SCALE": 0.2, "seq": 5, "past": 40, "WINDOW": 17,
     "RING": 1},
    {"M": 3, "H": 3, "G": 3, "K": 100, "C": 70, "SCALE": 0.1, "seq": 3, "past": 65, "kv": "f16",
     "x": "f16", "y": "f16", "SOFTCAP": 5.0},
)  # fmt: skip
PREFILL_CASES: tuple[Case, ...] = (
    {**SMALL, "M": 3, "seq": 3, "past": 0},
    *MIXED,
    {"M": 65, "H": 2, "G": 2, "K": 64, "C": 200, "SCALE": 0.125, "seq": 65, "past": 63,
     "kv": "f16"},
    {"M": 37, "H": 4, "G": 2, "K": 128, "C": 37, "SCALE": 0.09, "seq": 37, "past": 0,
     "WINDOW": 7, "start": (20,)},
)  # fmt: skip
DECODE_CASES: tuple[Case, ...] = (
    SMALL,
    *MIXED,
    {"M": 2, "H": 4, "G": 2, "K": 64, "C": 130, "SCALE": 0.125, "B": 2, "seq": 1, "past": 128,
     "start": (0, 100), "kv": "f16"},
    {"M": 1, "H": 8, "G": 1, "K": 128, "C": 64, "SCALE": 0.09, "seq": 1, "past": 500,
     "WINDOW": 63, "RING": 1},
    {"M": 1, "H": 7, "G": 1, "K": 100, "C": 33, "SCALE": 0.1, "seq": 1, "past": 31},
)  # fmt: skip


def _kernel(name: str, source: str, knobs: Mapping[str, tuple[int, ...]]) -> Kernel:
    cpu, prefill = name.endswith("_cpu"), "prefill" in name
    return Kernel(
        name=name,
        source=source,
        classes=("cpu",) if cpu else ("generic",),
        arguments=arguments,
        reference=reference,
        defines=partial(defines, prefill=prefill),
        grid=cpu_grid if cpu else generic_grid,
        work=work,
        knobs=knobs,
        cases=PREFILL_CASES if prefill else DECODE_CASES,
        local_bytes=local_bytes,
    )


HEAD_BLOCKS = (0, 16, 8, 4)  # HB: fewer heads where all of a K/V head are too much for local memory
ATTENTION_PREFILL = _kernel(
    "attention_prefill", "attention.cl", {"WG": (64, 32), "QB": (4, 2, 1), "HB": HEAD_BLOCKS}
)
ATTENTION_DECODE = _kernel("attention_decode", "attention.cl", {"WG": (64, 32), "HB": HEAD_BLOCKS})
ATTENTION_PREFILL_CPU = _kernel(
    "attention_prefill_cpu", "attention_prefill_cpu.cl", {"WORKERS": (4, 3), "QB": (16, 8)}
)
ATTENTION_DECODE_CPU = _kernel(
    "attention_decode_cpu", "attention_decode_cpu.cl", {"WORKERS": (8, 3)}
)
