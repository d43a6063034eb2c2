"""Rotary embedding (Su et al. 2021, eq. 34) of q and k, and k and v into their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opencl_kernels.case import At, Case, Defines, Size, symbols
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
)


@dataclass(frozen=True, kw_only=True)
class States(Case):
    """Queries of H heads [M, H, K] and states of keys [B, G, C, K] and values."""

    M: Size
    H: int
    G: int
    K: int
    C: int = 1
    ring: bool = False  # positions beyond C begin again at slot 0
    x: str = "f32"
    y: str = "f32"
    kv: str = "f32"


@dataclass(frozen=True, kw_only=True)
class Rotation(States):
    """How many of a head's K elements turn, and by which tables [CTX, R / 2]."""

    R: int
    CTX: int = 0
    interleaved: bool = False  # pairs lie side by side; else half a rotation apart


def state_argument(name: str, case: States, role: Role, width: int) -> Argument:
    """A KV state: token-major, one run of C slots, each so wide, per text and head."""
    return Argument(name, case.kv, (case.B, case.G, case.C, width), role, is_state=True)


def reference(inputs: Mapping[str, Array], case: Rotation) -> dict[str, Array]:
    """Row by row: rotate q and k at their positions, put k and v at their slots."""
    H, G, K, M = case.H, case.G, case.K, int(case.M)
    seq, past, _, *start = symbols(case).tolist()
    qkv = inputs["qkv"].astype(np.float64).reshape(M, H + 2 * G, K)
    q = np.empty((M, H, K))
    states = {name: inputs[name].astype(np.float64) for name in ("k_state", "v_state")}
    for m in range(M):
        b, j = m // seq, past + m % seq
        slot = j % case.C if case.ring else j
        rotated = _rotate(qkv[m, : H + G], max(0, j - start[b]), inputs, case)
        q[m] = rotated[:H]
        states["k_state"][b, :, slot] = rotated[H:]
        states["v_state"][b, :, slot] = qkv[m, H + G :]
    return {"q": q, **states}


def _rotate(heads_HK: Array, position: int, inputs: Mapping[str, Array], case: Rotation) -> Array:
    half = case.R // 2
    if not half:
        return heads_HK
    first = slice(0, 2 * half, 2) if case.interleaved else slice(0, half)
    second = slice(1, 2 * half, 2) if case.interleaved else slice(half, 2 * half)
    cos, sin = inputs["cos"][position], inputs["sin"][position]
    a, b = heads_HK[:, first], heads_HK[:, second]
    out = heads_HK.copy()
    out[:, first], out[:, second] = a * cos - b * sin, b * cos + a * sin
    return out


def _arguments(case: Rotation) -> tuple[Argument, ...]:
    tables = (Argument(name, "f32", (case.CTX, case.R // 2), "weight") for name in ("cos", "sin"))
    return (
        Argument("qkv", case.x, (case.M, (case.H + 2 * case.G) * case.K), "in"),
        *(tables if case.R else ()),
        state_argument("k_state", case, "inout", case.K),
        state_argument("v_state", case, "inout", case.K),
        Argument("q", case.y, (case.M, case.H, case.K), "out"),
    )


def _defines(case: Rotation, knobs: Knobs) -> Defines:
    return {
        **storage_defines(case, "x", "y", "kv"),
        **{name: getattr(case, name) for name in ("H", "G", "K", "C", "R")},
        "INTERLEAVED": int(case.interleaved),
        "RING": int(case.ring),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Rotation, knobs: Knobs) -> Grid:
    return item_grid(case.M * (case.H + 2 * case.G), knobs)


def _work(case: Any) -> tuple[int, int]:
    qkv = _arguments(case)[0]
    moved = 2 * nbytes((qkv,))  # what is read is written once, to q or a state
    return moved, 3 * case.M * (case.H + case.G) * case.R


DECODE = Rotation(M=1, H=12, G=4, K=64, C=2048, R=64, CTX=2048, at=At(seq=1, past=511))
ROPE_KV = Kernel(
    name="rope_kv",
    source="rope_kv.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,)},
)
FAMILY = Family(
    name="rope_kv",
    case=Rotation,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=(
        Rotation(M=1, H=2, G=1, K=8, R=8, C=5, CTX=5, at=At(seq=1, past=3)),
        Rotation(M=3, H=3, G=3, K=10, R=0, C=7, at=At(seq=3, past=4)),
        Rotation(M=1, H=4, G=2, K=30, R=30, C=9, CTX=9, interleaved=True, kv="f16",
                 at=At(seq=1, past=8)),
        Rotation(M=5, H=4, G=2, K=64, R=24, C=6, CTX=40, ring=True, x="f16", y="f16", kv="f16",
                 at=At(seq=5, past=9)),
        Rotation(M=14, H=6, G=2, K=16, R=16, C=20, CTX=20, B=2,
                 at=At(seq=7, past=2, start=(0, 5))),
    ),
    bench_cases=(
        DECODE,
        replace(DECODE, M=512, at=At(seq=512)),
    ),
    kernels=(ROPE_KV,),
    keeps_states=True,
)  # fmt: skip
