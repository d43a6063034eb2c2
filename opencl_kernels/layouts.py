"""Layouts of weights: how W[N, K] lies in memory, packed in numpy and read by macros in OpenCL.

A layout makes one argument or several of a weight (codes, scales, zero points); the bits are told
in formats.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.formats import (
    BLOCK,
    DTYPES,
    GROUPS,
    QUANTIZED,
    STRIP,
    Array,
    Quantized,
    pack_codes,
    pack_groups,
    pack_n16,
    unpack_codes,
    unpack_n16,
)
from opencl_kernels.kernel import Argument

SCALES = "n32"  # how a plan names the layout of scales and zero points
# Elements of a weight that the reference unpacks at once, which stay in caches, and multiplies.
UNPACKED, MULTIPLIED = 2**16, 2**20
ZEROS = ("", "u8", "f16", "f32")  # in the order of the define ZERO


@dataclass(frozen=True)
class Stored:
    """How a weight is stored: its type, its layout, and of codes their groups along K."""

    dtype: str = "f32"  # "f32", "f16", or codes: "e0m4", "q8"
    layout: str = "n16"
    group: int = 0  # codes that share a scale
    scale: str = ""  # storage of scales: "f32" or "f16"
    zero: str = ""  # storage of zero points, one of ZEROS; "": the middle of the codes

    def __post_init__(self) -> None:
        """Refuse what no kernel reads."""
        if self.dtype not in (*QUANTIZED, "f32", "f16") or self.layout not in LAYOUTS:
            raise ValueError(f"no weight is stored as {self.dtype!r} in {self.layout!r}")
        if self.dtype in QUANTIZED and self.group not in GROUPS:
            raise ValueError(f"codes in groups of {self.group}")

    @property
    def bits(self) -> int:
        """Of a code; 0 where the weight is floats."""
        return QUANTIZED.get(self.dtype, 0)

    def groups(self, depth: int) -> int:
        """Groups along the depth of codes."""
        return int(ceil_div(depth, self.group))


@dataclass(frozen=True)
class Part:
    """One array of a stored weight, which becomes one argument of the kernels."""

    argument: str
    dtype: str
    layout: str  # as the plan names it
    columns: int  # of the packed array [ceil(N / block), columns, block]
    pack: Callable[[Array], Array]  # rows [n, K], or [n, groups], of it
    random: Callable[[tuple[int, ...], np.random.Generator], Array] | None = None


@dataclass(frozen=True)
class Layout:
    """One way for weights to lie in memory."""

    name: str
    block: int  # rows that lie side by side
    header: str  # of the macros that read it, in include/
    parts: Callable[[Stored, int], tuple[Part, ...]]  # of a weight whose rows have K elements
    defines: Callable[[Stored], Defines]
    unpack: Callable[[Mapping[str, Array], Stored, int, int], Array]  # W[N, K] in float64


def _float_parts(stored: Stored, K: int) -> tuple[Part, ...]:
    return (Part("w", stored.dtype, "n16", K, pack_n16),)


def _float_defines(stored: Stored) -> Defines:
    return {"W_HALF": int(stored.dtype == "f16"), "BITS": 0}


def _unpack_floats(inputs: Mapping[str, Array], _: Stored, N: int, K: int) -> Array:
    return unpack_n16(inputs["w"], N, K).astype(np.float64)


def _code_parts(stored: Stored, K: int) -> tuple[Part, ...]:
    """Words of codes; scales, and zero points where there are any."""
    groups = stored.groups(K)
    words = groups * stored.group * stored.bits // 32
    pack = partial(pack_codes, bits=stored.bits, group=stored.group)
    kinds = (("scale", stored.scale), ("zero", stored.zero))
    return (
        Part("w", "u32", stored.dtype, words, pack, _integers(2**32)),
        *(
            Part(name, dtype, SCALES, groups, pack_groups, _values(dtype, stored.bits))
            for name, dtype in kinds
            if dtype
        ),
    )


def _code_defines(stored: Stored) -> Defines:
    zero = ZEROS.index(stored.zero)
    scale = {"SCALE_HALF": int(stored.scale == "f16")}
    return {"BITS": stored.bits, "GROUP": stored.group, "ZERO": zero, **scale}


def _unpack_codes(inputs: Mapping[str, Array], stored: Stored, N: int, K: int) -> Array:
    groups = stored.groups(K)
    scale, zero = (
        unpack_n16(inputs[name], N, groups, STRIP) if name in inputs else None
        for name in ("scale", "zero")
    )
    codes_NK = unpack_codes(inputs["w"], stored.bits, N, K)
    assert scale is not None
    return Quantized(codes_NK, scale, zero, stored.bits, stored.group).values(np.float64)


def _integers(limit: int) -> Callable[[tuple[int, ...], np.random.Generator], Array]:
    return lambda shape, rng: rng.integers(0, limit, shape)


def _values(dtype: str, bits: int) -> Any:
    """Zero points of integers are such as codes have; floats are any."""
    return _integers(2**bits) if DTYPES[dtype].kind == "u" else None


def _codes(name: str) -> Layout:
    return Layout(name, STRIP, "quantized.clh", _code_parts, _code_defines, _unpack_codes)


N16 = Layout("n16", BLOCK, "matmul.clh", _float_parts, _float_defines, _unpack_floats)
LAYOUTS: dict[str, Layout] = {each.name: each for each in (N16, _codes("e0m4"), _codes("q8"))}

F32, F16 = Stored("f32"), Stored("f16")


def quantized(dtype: str, group: int, scale: str, zero: str = "") -> Stored:
    """Codes in the layout that bears their name."""
    return Stored(dtype, dtype, group, scale, zero)


def _blocks_of(inputs: Mapping[str, Array], stored: Stored, K: int, blocks: Any) -> Array:
    """The rows of some blocks of a stored weight, in float64."""
    layout = LAYOUTS[stored.layout]
    named = {part.argument: inputs[part.argument][blocks] for part in layout.parts(stored, K)}
    return layout.unpack(named, stored, len(named["w"]) * layout.block, K)


def stored_rows(inputs: Mapping[str, Array], stored: Stored, K: int, rows: Array) -> Array:
    """W[rows] of a stored weight, in float64; nothing else of it is unpacked."""
    block = LAYOUTS[stored.layout].block
    wanted, places = np.unique(rows // block, return_inverse=True)
    unpacked = _blocks_of(inputs, stored, K, wanted)
    found: Array = unpacked[places.reshape(rows.shape) * block + rows % block]
    return found


def times_stored(
    x_MK: Array, inputs: Mapping[str, Array], stored: Stored, N: int, K: int, first: int = 0
) -> Array:
    """x W^T for N rows of a stored weight from `first` on, which begins a block; in float64."""
    block = LAYOUTS[stored.layout].block
    few, many = (max(1, elements // (block * K)) for elements in (UNPACKED, MULTIPLIED))
    begin, end = first // block, first // block + ceil_div(N, block)
    rows, parts = np.empty((many * block, K)), list[Array]()
    for here in range(begin, end, many):
        stop = min(end, here + many)
        for at in range(here, stop, few):
            unpacked = _blocks_of(inputs, stored, K, slice(at, min(stop, at + few)))
            rows[(at - here) * block :][: len(unpacked)] = unpacked
        parts.append(x_MK @ rows[: (stop - here) * block].T)
    whole: Array = np.concatenate(parts, axis=-1)
    return whole[..., :N]


def weight_arguments(stored: Stored, N: int, K: int) -> tuple[Argument, ...]:
    """The arguments of a weight W[N, K], in the kernels' order."""
    layout = LAYOUTS[stored.layout]
    return tuple(_argument(p, N, layout.block) for p in layout.parts(stored, K))


def _argument(part: Part, N: int, block: int) -> Argument:
    shape = (ceil_div(N, block), part.columns, block)
    random = None if part.random is None else partial(part.random, shape)
    return Argument(part.argument, part.dtype, shape, "weight", random=random)
