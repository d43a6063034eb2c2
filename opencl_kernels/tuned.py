"""Which knobs a case is compiled with: what was found by measuring, as far as it finds room.

Measured knobs are tables of kernel -> shape -> knobs. Room is the bytes of local memory that a
work-group may take.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain, product
from typing import Any

from opencl_kernels.case import Case
from opencl_kernels.device_class import CLASSES, lineage
from opencl_kernels.kernel import Kernel, Knobs

Table = Mapping[str, Mapping[str, Knobs]]  # knobs that are not named keep their default

# What tells shapes apart, in the order of a name; the dimension key stands in case.py. Strides,
# epsilons and the capacity of states are left out: knobs hold for every one of them.
SIZES = ("M", "count", "B", "N", "H", "G", "K", "V", "D", "R", "WINDOW", "SPLITS")
STORAGE = ("x", "y", "kv")  # named where it is not float
OPTIONS = ("bias", "residual", "glu")


def shape_key(case: Case) -> str:
    """A case's shape for people and tables: "N2048 K2048 e0m4 32"; many rows: "Mseq N2048 …"."""
    sizes = {name.upper(): getattr(case, name, 0) for name in SIZES}
    words = [f"{name}{_text(size)}" for name, size in sizes.items() if size not in (0, 1)]
    words += _stored(case)
    words += [name for name in OPTIONS if getattr(case, name, None)]
    words += ["norm"] if getattr(case, "norm", None) else []
    words += [f"{name}-f16" for name in STORAGE if getattr(case, name, "") == "f16"]
    return " ".join(words) or "any"


def _stored(case: Any) -> Iterator[str]:
    """How its weight is stored, or which expression it computes."""
    if (weight := getattr(case, "w", None)) is not None:
        yield weight.dtype
        yield from [str(weight.group)] if weight.group else []
        yield from ["zero"] if weight.zero else []
    elif expression := getattr(case, "expression", ""):
        yield expression


def default_knobs(kernel: Kernel, device_class: str) -> dict[str, int]:
    """The first value of each knob on a class of devices."""
    return {name: values_of(kernel, name, device_class)[0] for name in kernel.knobs}


def knobs_within(
    kernel: Kernel, case: Case, device_class: str, features: Collection[str]
) -> dict[str, int] | None:
    """The defaults, or these with another value of one knob, that need no more than features.

    None where there are none.
    """
    usual = default_knobs(kernel, device_class)
    others = (
        {**usual, name: value} for name in usual for value in values_of(kernel, name, device_class)
    )
    each = chain([usual], others)
    return next((k for k in each if {*kernel.requires(case, k).features} <= {*features}), None)


def usual_knobs(kernel: Kernel, case: Case, device_class: str, room: int) -> dict[str, int] | None:
    """The first knobs that find room, the defaults before all others; None where none do."""
    each = _combinations(kernel, device_class)
    return next((knobs for knobs in each if _fits(kernel, case, knobs, room)), None)


def least_local_bytes(kernel: Kernel, case: Case, device_class: str) -> int:
    """What the kernel takes of local memory with the knobs that take least."""
    each = _combinations(kernel, device_class)
    return min(kernel.requires(case, knobs).local_bytes for knobs in each)


def knobs_for(kernel: Kernel, case: Case, usual: Knobs, table: Table, room: int) -> dict[str, int]:
    """The usual knobs, or the table's where these find room."""
    tuned = {**usual, **table.get(kernel.name, {}).get(shape_key(case), {})}
    return tuned if _fits(kernel, case, tuned, room) else {**usual}


def changed(knobs: Knobs, usual: Knobs) -> dict[str, int]:
    """The knobs that differ from the usual ones."""
    return {name: value for name, value in knobs.items() if value != usual.get(name)}


def values_of(kernel: Kernel, name: str, device_class: str) -> tuple[int, ...]:
    """Values of a knob, the default first: the class's, its parent's, or the kernel's own."""
    for each in lineage(CLASSES[device_class]):
        if name in each.knobs.get(kernel.name, {}):
            return each.knobs[kernel.name][name]
    return kernel.knobs[name]


def _fits(kernel: Kernel, case: Case, knobs: Knobs, room: int) -> bool:
    return kernel.requires(case, knobs).local_bytes <= room


def _combinations(kernel: Kernel, device_class: str) -> Iterator[dict[str, int]]:
    """The defaults, then other values, those of the last knob first."""
    values = (values_of(kernel, name, device_class) for name in kernel.knobs)
    return (dict(zip(kernel.knobs, each, strict=True)) for each in product(*values))


def _text(value: Any) -> str:
    return str(value).replace(" ", "")
