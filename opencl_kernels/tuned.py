"""Which knobs a case is compiled with: what was found by measuring, as far as it finds room.

Measured knobs are tables of kernel -> shape -> knobs. Room is the bytes of local memory that a
work-group may take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from opencl_kernels.kernel import Case, Kernel, Knobs, default_knobs

Table = Mapping[str, Mapping[str, Knobs]]  # knobs that are not named keep their default

# What tells shapes apart, in the order of a name; the dimension key stands in kernel.py. Strides,
# epsilons and the capacity of states are left out: knobs hold for every one of them.
SIZES = ("M", "COUNT", "B", "N", "H", "G", "K", "V", "D", "R", "WINDOW", "SPLITS")
STORAGE = ("x", "y", "kv")  # named where it is not float
OPTIONS = {"zero": "zero", "bias": "bias", "residual": "residual", "GLU": "glu"}


def shape_key(case: Case) -> str:
    """A case's shape for people and tables: "N2048 K2048 e0m4 32"; many rows: "Mseq N2048 …"."""
    words = [f"{size}{_text(case[size])}" for size in SIZES if case.get(size, 0) not in (0, 1)]
    words += [str(case[name]) for name in ("w", "GROUP", "EXPR") if name in case]
    words += [word for name, word in OPTIONS.items() if case.get(name)]
    words += ["norm"] if "N" in case and "EPS" in case else []
    words += [f"{name}-f16" for name in STORAGE if case.get(name) == "f16"]
    return " ".join(words) or "any"


def usual_knobs(kernel: Kernel, case: Case, device_class: str, room: int) -> dict[str, int] | None:
    """The first knobs that find room, the defaults before all others; None where none do."""
    each = _combinations(kernel, device_class)
    return next((knobs for knobs in each if kernel.local_bytes(case, knobs) <= room), None)


def least_local_bytes(kernel: Kernel, case: Case, device_class: str) -> int:
    """What the kernel takes of local memory with the knobs that take least."""
    return min(kernel.local_bytes(case, knobs) for knobs in _combinations(kernel, device_class))


def knobs_for(kernel: Kernel, case: Case, usual: Knobs, table: Table, room: int) -> dict[str, int]:
    """The usual knobs, or the table's where these find room."""
    tuned = {**usual, **table.get(kernel.name, {}).get(shape_key(case), {})}
    return tuned if kernel.local_bytes(case, tuned) <= room else {**usual}


def changed(knobs: Knobs, usual: Knobs) -> dict[str, int]:
    """The knobs that differ from the usual ones."""
    return {name: value for name, value in knobs.items() if value != usual.get(name)}


def values_of(kernel: Kernel, name: str, device_class: str) -> tuple[int, ...]:
    """Values of a knob, the default first; WORKERS = 0 and others belong to different classes."""
    usual = default_knobs(kernel, device_class)[name]
    others = (value for value in kernel.knobs[name] if value != usual)
    return usual, *(v for v in others if name != "WORKERS" or bool(v) == bool(usual))


def _combinations(kernel: Kernel, device_class: str) -> Iterator[dict[str, int]]:
    """The defaults, then other values, those of the last knob first."""
    usual = default_knobs(kernel, device_class)
    values = (values_of(kernel, name, device_class) for name in usual)
    return (dict(zip(usual, each, strict=True)) for each in product(*values))


def _text(value: Any) -> str:
    return str(value).replace(" ", "")
