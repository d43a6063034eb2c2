"""Rotary embedding (Su et al. 2021, eq. 34) of q and k, and k and v into their states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Case,
    Defines,
    Grid,
    Kernel,
    Knobs,
    item_grid,
    local_size,
    nbytes,
    storage_defines,
    symbols,
)


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """Row by row: rotate q and k at their positions, put k and v at their slots."""
    H, G, K = case["H"], case["G"], case["K"]
    seq, past, _, *start = symbols(case).tolist()
    qkv = inputs["qkv"].astype(np.float64).reshape(case["M"], H + 2 * G, K)
    q = np.empty((case["M"], H, K))
    states = {name: inputs[name].astype(np.float64) for name in ("k_state", "v_state")}
    for m in range(case["M"]):
        b, j = m // seq, past + m % seq
        slot = j % case["C"] if case.get("RING") else j
        rotated = _rotate(qkv[m, : H + G], max(0, j - start[b]), inputs, case)
        q[m] = rotated[:H]
        states["k_state"][b, :, slot] = rotated[H:]
        states["v_state"][b, :, slot] = qkv[m, H + G :]
    return {"q": q, **states}


def _rotate(heads_HK: Array, position: int, inputs: Mapping[str, Array], case: Case) -> Array:
    half = case["R"] // 2
    if not half:
        return heads_HK
    paired = bool(case.get("INTERLEAVED"))
    first = slice(0, 2 * half, 2) if paired else slice(0, half)
    second = slice(1, 2 * half, 2) if paired else slice(half, 2 * half)
    cos, sin = inputs["cos"][position], inputs["sin"][position]
    a, b = heads_HK[:, first], heads_HK[:, second]
    out = heads_HK.copy()
    out[:, first], out[:, second] = a * cos - b * sin, b * cos + a * sin
    return out


def state_shape(case: Case) -> tuple[Any, ...]:
    """Shape of a KV state: token-major, one run of C slots per batch row and head."""
    return case.get("B", 1), case["G"], case["C"], case["K"]


def _arguments(case: Case) -> tuple[Argument, ...]:
    qkv = Argument("qkv", "x", lambda c: (c["M"], (c["H"] + 2 * c["G"]) * c["K"]), "in")
    tables = tuple(
        Argument(name, "f32", lambda c: (c["CTX"], c["R"] // 2), "weight")
        for name in ("cos", "sin")
    )
    k_state = Argument("k_state", "kv", state_shape, "inout")
    v_state = Argument("v_state", "kv", state_shape, "inout")
    q = Argument("q", "y", lambda c: (c["M"], c["H"], c["K"]), "out")
    return (qkv, *(tables if case["R"] else ()), k_state, v_state, q)


def _defines(case: Case, knobs: Knobs) -> Defines:
    return {
        **storage_defines(case, "x", "y", "kv"),
        **{name: case[name] for name in ("H", "G", "K", "C", "R")},
        "INTERLEAVED": int(case.get("INTERLEAVED", 0)),
        "RING": int(case.get("RING", 0)),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Case, knobs: Knobs) -> Grid:
    return item_grid(case["M"] * (case["H"] + 2 * case["G"]), knobs)


def _work(case: Case) -> tuple[int, int]:
    qkv = _arguments(case)[0]
    moved = 2 * nbytes((qkv,), case)  # what is read is written once, to q or a state
    return moved, 3 * case["M"] * (case["H"] + case["G"]) * case["R"]


ROPE_KV = Kernel(
    name="rope_kv",
    source="rope_kv.cl",
    classes=("cpu", "generic"),
    arguments=_arguments,
    reference=reference,
    defines=_defines,
    grid=_grid,
    work=_work,
    knobs={"WORKERS": (8, 0)},
    cases=(
        {"M": 1, "H": 2, "G": 1, "K": 8, "R": 8, "C": 5, "CTX": 5, "seq": 1, "past": 3},
        {"M": 3, "H": 3, "G": 3, "K": 10, "R": 0, "C": 7, "seq": 3, "past": 4},
        {"M": 1, "H": 4, "G": 2, "K": 30, "R": 30, "C": 9, "CTX": 9, "INTERLEAVED": 1, "past": 8,
         "seq": 1, "kv": "f16"},
        {"M": 5, "H": 4, "G": 2, "K": 64, "R": 24, "C": 6, "CTX": 40, "RING": 1, "seq": 5,
         "past": 9, "x": "f16", "y": "f16", "kv": "f16"},
        {"M": 14, "H": 6, "G": 2, "K": 16, "R": 16, "C": 20, "CTX": 20, "B": 2, "seq": 7,
         "past": 2, "start": (0, 5)},
    ),
)  # fmt: skip
