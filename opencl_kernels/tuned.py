"""Knobs that were found by measuring: tables of kernel -> shape -> knobs, and shapes' names."""

from __future__ import annotations

from collections.abc import Mapping
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


def knobs_for(kernel: Kernel, case: Case, device_class: str, table: Table) -> dict[str, int]:
    """The knobs that a case is compiled with: the table's, else the defaults."""
    found = table.get(kernel.name, {}).get(shape_key(case), {})
    return {**default_knobs(kernel, device_class), **found}


def changed(kernel: Kernel, knobs: Knobs, device_class: str) -> dict[str, int]:
    """The knobs that are not at their default."""
    usual = default_knobs(kernel, device_class)
    return {name: value for name, value in knobs.items() if value != usual.get(name)}


def other_values(kernel: Kernel, name: str, device_class: str) -> tuple[int, ...]:
    """Values of a knob besides the default; GROUPS = 0 and others belong to different classes."""
    usual = default_knobs(kernel, device_class)[name]
    values = (value for value in kernel.knobs[name] if value != usual)
    return tuple(v for v in values if name != "GROUPS" or bool(v) == bool(usual))


def _text(value: Any) -> str:
    return str(value).replace(" ", "")
