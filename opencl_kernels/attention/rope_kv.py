"""Norms and rotary embedding (Su et al. 2021, eq. 34) of q and k, and k and v into their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opencl_kernels.case import At, Case, Defines, Size, c_float, ceil_div, symbols
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

# Of each head: RMSNorm or LayerNorm before the rotation, or RMSNorm after it; or, before it, an
# RMSNorm of all heads of q, and one of all of k. Their places are the kernel's NORM.
NORMS = ("", "rms", "layer", "rms_after", "rms_whole")
PAIRS_NORMS = ("", "rms", "layer", "rms_after")  # that rope_kv_pairs.cl knows
# Arguments that the norms scale by and, of LayerNorms, add.
NORM_VECTORS = ("q_gamma", "k_gamma", "q_beta", "k_beta")


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
    """How many of a head's K elements turn, by which tables [CTX, R / 2], and the norm of heads."""

    R: int = 0
    CTX: int = 0
    interleaved: bool = False  # pairs lie side by side; else half a rotation apart
    norm: str = ""  # of the heads of q and of k, one of NORMS
    EPS: float = 0.0  # that the norm adds to the mean of squares

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        if self.norm not in NORMS:
            raise ValueError(f"{self.norm!r} is no norm of heads: {', '.join(filter(None, NORMS))}")


def state_argument(name: str, case: States, role: Role, width: int) -> Argument:
    """A KV state: token-major, one run of C slots, each so wide, per text and head."""
    return Argument(name, case.kv, (case.B, case.G, case.C, width), role, is_state=True)


def reference(inputs: Mapping[str, Array], case: Rotation) -> dict[str, Array]:
    """Row by row: norm q and k, rotate them at their positions, put k and v at their slots."""
    H, G, K, M = case.H, case.G, case.K, int(case.M)
    seq, past, _, *start = symbols(case).tolist()
    qkv = inputs["qkv"].astype(np.float64).reshape(M, H + 2 * G, K)
    q = np.empty((M, H, K))
    states = {name: inputs[name].astype(np.float64) for name in ("k_state", "v_state")}
    for m in range(M):
        b, j = m // seq, past + m % seq
        slot = j % case.C if case.ring else j
        heads = qkv[m, : H + G]
        heads = heads if case.norm == "rms_after" else _normed(heads, inputs, case)
        rotated = _rotate(heads, max(0, j - start[b]), inputs, case)
        rotated = _normed(rotated, inputs, case) if case.norm == "rms_after" else rotated
        q[m] = rotated[:H]
        states["k_state"][b, :, slot] = rotated[H:]
        states["v_state"][b, :, slot] = qkv[m, H + G :]
    return {"q": q, **states}


def _normed(heads_HK: Array, inputs: Mapping[str, Array], case: Rotation) -> Array:
    """The heads of q, then those of k, each by its own scale (and offset)."""
    if not case.norm:
        return heads_HK
    if case.norm == "rms_whole":
        parts = zip(np.split(heads_HK, [case.H]), ("q_gamma", "k_gamma"), strict=True)
        return np.concatenate([_normed_as_one(part, inputs[name], case) for part, name in parts])
    counts = [case.H, case.G]
    gamma = np.repeat([inputs["q_gamma"], inputs["k_gamma"]], counts, axis=0)
    beta = np.zeros_like(gamma)
    if case.norm == "layer":
        heads_HK = heads_HK - heads_HK.mean(-1, keepdims=True)
        beta = np.repeat([inputs["q_beta"], inputs["k_beta"]], counts, axis=0)
    mean_H1 = np.mean(heads_HK * heads_HK, axis=-1, keepdims=True)
    normed: Array = heads_HK / np.sqrt(mean_H1 + case.EPS) * gamma + beta
    return normed


def _normed_as_one(heads_HK: Array, gamma: Array, case: Rotation) -> Array:
    normed: Array = heads_HK / np.sqrt(np.mean(heads_HK * heads_HK) + case.EPS)
    return normed * gamma.reshape(heads_HK.shape)


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
    vectors = NORM_VECTORS if case.norm == "layer" else NORM_VECTORS[:2] if case.norm else ()
    heads = (case.H, case.G) if case.norm == "rms_whole" else (1, 1)
    widths = [count * case.K for count in heads] * 2
    tables = (Argument(name, "f32", (case.CTX, case.R // 2), "weight") for name in ("cos", "sin"))
    return (
        Argument("qkv", case.x, (case.M, (case.H + 2 * case.G) * case.K), "in"),
        *(tables if case.R else ()),
        *(
            Argument(name, "f32", (width,), "weight")
            for name, width in zip(vectors, widths, strict=False)
        ),
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
        **({"LOCAL": local_size(knobs)} if "WORKERS" in knobs else knobs),
        **({"NORM": NORMS.index(case.norm), "EPS": c_float(case.EPS)} if case.norm else {}),
    }


def _grid(case: Rotation, knobs: Knobs) -> Grid:
    return item_grid(case.M * (case.H + 2 * case.G), knobs)


def _pairs_grid(case: Rotation, knobs: Knobs) -> Grid:
    """An item for each piece of each head: four pairs, or eight other elements."""
    pieces = ceil_div(case.R // 2, 4) + ceil_div(case.K - case.R, 8)
    most = max(pieces, ceil_div(case.K, 8))
    items = case.M * (case.H + 2 * case.G) * most
    return (ceil_div(items, knobs["WG"]) * knobs["WG"],), (knobs["WG"],)


def _pairs_support(case: Rotation) -> str | None:
    return None if case.norm in PAIRS_NORMS else f"no norm {case.norm!r}"


def _work(case: Any) -> tuple[int, int]:
    qkv = _arguments(case)[0]
    moved = 2 * nbytes((qkv,))  # what is read is written once, to q or a state
    each = 3 * case.R + (4 * case.K if case.norm else 0)
    return moved, case.M * (case.H + case.G) * each


DECODE = Rotation(M=1, H=12, G=4, K=64, C=2048, R=64, CTX=2048, at=At(seq=1, past=511))
ROPE_KV = Kernel(
    name="rope_kv",
    source="rope_kv.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,)},
)
ROPE_KV_PAIRS = Kernel(
    name="rope_kv_pairs",
    source="rope_kv_pairs.cl",
    classes=("adreno", "mali"),
    defines=_defines,
    grid=_pairs_grid,
    knobs={"WG": (64, 128)},
    supports=_pairs_support,
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
        Rotation(M=3, H=5, G=2, K=9, R=6, C=7, CTX=9, norm="rms", EPS=1e-3,
                 at=At(seq=3, past=4)),
        Rotation(M=1, H=3, G=1, K=17, C=5, norm="rms", EPS=1e-6, x="f16", y="f16", kv="f16",
                 at=At(seq=1, past=4)),
        Rotation(M=6, H=3, G=3, K=14, R=14, C=6, CTX=20, ring=True, interleaved=True, B=2,
                 norm="layer", EPS=1e-2, at=At(seq=3, past=9, start=(0, 2))),
        Rotation(M=3, H=4, G=2, K=13, R=8, C=7, CTX=9, norm="rms_after", EPS=1e-3, kv="f16",
                 at=At(seq=3, past=4)),
        Rotation(M=1, H=2, G=1, K=8, R=8, C=7, CTX=9, norm="rms_after", EPS=1e-3,
                 interleaved=True, at=At(seq=1, past=4)),
        Rotation(M=3, H=5, G=2, K=9, R=6, C=7, CTX=9, norm="rms_whole", EPS=1e-3,
                 at=At(seq=3, past=4)),
        Rotation(M=2, H=3, G=1, K=17, C=5, norm="rms_whole", EPS=1e-6, x="f16", y="f16", kv="f16",
                 B=2, at=At(seq=1, past=4)),
        Rotation(M=1, H=6, G=3, K=14, R=14, C=6, CTX=20, ring=True, interleaved=True,
                 norm="rms_whole", EPS=1e-2, at=At(seq=1, past=9)),
    ),
    bench_cases=(
        DECODE,
        replace(DECODE, M=512, at=At(seq=512)),
        *(replace(DECODE, norm=norm, EPS=1e-6) for norm in ("rms", "rms_whole")),
    ),
    kernels=(ROPE_KV_PAIRS, ROPE_KV),
    keeps_states=True,
)  # fmt: skip
