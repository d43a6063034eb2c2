"""A kernel is a value: a .cl file, the devices and cases it is for, and how it is launched."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.formats import DTYPES, Array

Knobs = Mapping[str, int]
Grid = tuple[tuple[Any, ...], tuple[int, ...]]
Role = Literal["in", "out", "inout", "weight"]

FOLDER = Path(__file__).parent
INCLUDE = FOLDER / "include"
PORTABLE_LOCAL = 64  # work-group of kernels that need none: one work-item per item


@dataclass(frozen=True)
class Argument:
    """One buffer of a kernel."""

    name: str
    dtype: str  # a storage type, of formats.DTYPES
    shape: tuple[Any, ...]
    role: Role
    is_state: bool = False  # KV: comes from memory, as weights do, and outlives the launch
    random: Callable[[np.random.Generator], Array] | None = None  # values for tests


@dataclass(frozen=True)
class Requires:
    """What a launch needs of a device."""

    features: tuple[str, ...] = ()  # of those that a plan knows: "fp16", "subgroups", …
    local_bytes: int = 0  # of local memory, for a work-group
    # Arguments that it reads as images, too. Behind its arguments it takes for each of them an
    # image1d_buffer_t of all the memory that the argument lies in, whose texels are four words of
    # 32 bits, and an int: the texel where the argument begins.
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """How a family's result is computed on some devices; all that selection and tuning know."""

    name: str  # of the __kernel function
    source: str  # its .cl file, in the folder of its family
    classes: tuple[str, ...]  # of devices; a class runs its parent's kernels too
    defines: Callable[[Any, Knobs], Defines]  # all but SEQ, PAST, ROWS, START and M
    grid: Callable[[Any, Knobs], Grid]  # global, local; sizes may be sympy expressions
    knobs: Mapping[str, tuple[int, ...]]  # the first value is the default
    supports: Callable[[Any], str | None] = lambda _: None  # why it can't compute a case
    requires: Callable[[Any, Knobs], Requires] = lambda *_: Requires()
    options: tuple[str, ...] = ()  # of the OpenCL compiler, e.g. "-cl-mad-enable"
    on_processors: bool = True  # where their class inherits it: False where it gains nothing there
    cuts: int | None = None  # the axis along which a launch may be enqueued in pieces: GROUP_ID


def source_text(source: str) -> str:
    """A .cl file with its includes written out, so that a plan's kernel stands alone."""
    return _with_includes(_source_file(source))


def _source_file(source: str) -> Path:
    """Names of .cl files are unique, whatever their folders: a plan has one folder for all."""
    (found,) = FOLDER.glob(f"*/{source}")
    return found


def _with_includes(path: Path) -> str:
    """Files that are included lie beside the file, or in include/."""

    def included(name: str) -> str:
        beside = path.with_name(name)
        return _with_includes(beside if beside.exists() else INCLUDE / name)

    text = path.read_text(encoding="utf-8")
    return re.sub(r'#include "([\w.]+)"\n', lambda found: included(found[1]), text)


def storage_defines(case: Any, *names: str) -> Defines:
    """X_HALF for "x" and so on: 1 where the case stores halves."""
    return {f"{name.upper()}_HALF": int(getattr(case, name) == "f16") for name in names}


def worker_grid(case: Any, knobs: Knobs) -> Grid:
    """WORKERS work-items, each its own work-group, whatever the sizes."""
    return (knobs["WORKERS"],), (1,)


def item_grid(items: Any, knobs: Knobs) -> Grid:
    """WORKERS fat work-items that share the items; where it is 0, a work-item for each item."""
    if knobs["WORKERS"]:
        return (knobs["WORKERS"],), (1,)
    return (ceil_div(items, PORTABLE_LOCAL) * PORTABLE_LOCAL,), (PORTABLE_LOCAL,)


def local_size(knobs: Knobs) -> int:
    """The LOCAL define that belongs to `item_grid`."""
    return 1 if knobs["WORKERS"] else PORTABLE_LOCAL


def nbytes(arguments: tuple[Argument, ...]) -> int:
    """Bytes of buffers: what a kernel moves when it touches each element once."""
    return sum(int(np.prod(a.shape)) * DTYPES[a.dtype].itemsize for a in arguments)
