"""A kernel is a value: one `Kernel` drives selection, test, tuning and benchmark of a .cl file.

Dimension key: B batch, M rows of an activation, N and K outputs and reduction length of a weight,
D model width, F FFN width, H heads, G KV heads, K head width (in attention), R rotary width,
V vocabulary, C KV capacity, CTX rows of the rotary tables. Lower case: storage types ("x", "y",
"w", "kv": "f32" or "f16"), options ("rows", "bias"), and for tests the symbols' values "seq",
"past", "rows_n" and "start".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from opencl_kernels.formats import CODED, DTYPES, Array

Case = Mapping[str, Any]
Knobs = Mapping[str, int]
Defines = dict[str, int | float | str]
Grid = tuple[tuple[Any, ...], tuple[int, ...]]
Role = Literal["in", "out", "inout", "weight"]

FOLDER = Path(__file__).parent
INCLUDE = FOLDER / "include"
GENERIC_LOCAL = 64  # work-group of kernels that need none: one work-item per item


@dataclass(frozen=True)
class Argument:
    """One buffer of a kernel; `dtype` is a storage type or the case's key that holds one."""

    name: str
    dtype: str
    shape: Callable[[Case], tuple[Any, ...]]
    role: Role

    def storage(self, case: Case) -> str:
        """The storage type that this case gives the argument (f32 unless it says otherwise)."""
        return self.dtype if self.dtype in DTYPES else str(case.get(self.dtype, "f32"))


@dataclass(frozen=True)
class Kernel:
    """An OpenCL kernel and all that selection, tests, tuning and benchmarks know of it."""

    name: str  # of the __kernel function
    source: str  # its .cl file, in the folder of its family
    classes: tuple[str, ...]  # of devices
    arguments: Callable[[Case], tuple[Argument, ...]]  # in order, after the leading `sym`
    reference: Callable[[Mapping[str, Array], Case], dict[str, Array]]
    defines: Callable[[Case, Knobs], Defines]  # all but SEQ, PAST, ROWS, START and M
    grid: Callable[[Case, Knobs], Grid]  # global, local; dims may be sympy expressions
    work: Callable[[Case], tuple[int, int]]  # bytes, flops
    knobs: Mapping[str, tuple[int, ...]]  # the first value is the default
    cases: tuple[Case, ...]
    local_bytes: Callable[[Case, Knobs], int] = lambda *_: 0  # that a work-group takes
    fixed: Callable[[Case], Mapping[str, Array]] = lambda _: {}  # inputs that are not random


def default_knobs(kernel: Kernel, device_class: str = "cpu") -> dict[str, int]:
    """The first value of each knob; a kernel of both classes has WORKERS = 0 outside `cpu`."""
    knobs = {name: values[0] for name, values in kernel.knobs.items()}
    if device_class != "cpu" and 0 in kernel.knobs.get("WORKERS", ()):
        knobs["WORKERS"] = 0
    return knobs


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


def symbol_header(batch: int = 1) -> dict[str, str]:
    """Where a language model's kernels find their symbols: slots of the buffer `sym`."""
    start = "sym[3]" if batch == 1 else "sym[3+(b)]"
    return {"SEQ": "sym[0]", "PAST": "sym[1]", "ROWS": "sym[2]", "START(b)": start}


def row_count(case: Case) -> str:
    """M as a C expression, for launches outside a plan."""
    if "seq" not in case:
        return str(case["M"])
    return f"({'ROWS' if case.get('rows') == 'last' else 'SEQ'}*{case.get('B', 1)})"


def case_id(case: Case) -> str:
    """A name of the case that can be pasted to `pytest -k`."""
    return "_".join(key + re.sub(r"\W+", "", str(value)) for key, value in case.items())


def ceil_div(a: Any, b: int) -> Any:
    """a / b rounded up, for ints and sympy expressions."""
    return (a + b - 1) // b


def c_float(value: float) -> str:
    """A float of OpenCL C; a literal without the suffix would be a double."""
    with np.errstate(over="ignore"):  # what is beyond all floats is infinite
        number = np.float32(value)
    if np.isfinite(number):
        return f"{float(value)!r}f"
    return "NAN" if np.isnan(number) else f"{'-' if number < 0 else ''}INFINITY"


def storage_defines(case: Case, *names: str) -> Defines:
    """X_HALF for "x" and so on: 1 where the case stores halves."""
    return {f"{name.upper()}_HALF": int(case.get(name, "f32") == "f16") for name in names}


def cpu_grid(case: Case, knobs: Knobs) -> Grid:
    """WORKERS work-items, each its own work-group, whatever the sizes."""
    return (knobs["WORKERS"],), (1,)


def item_grid(items: Any, knobs: Knobs) -> Grid:
    """The grid of a kernel of both classes: WORKERS fat work-items, or one for each item."""
    if knobs["WORKERS"]:
        return (knobs["WORKERS"],), (1,)
    return (ceil_div(items, GENERIC_LOCAL) * GENERIC_LOCAL,), (GENERIC_LOCAL,)


def local_size(knobs: Knobs) -> int:
    """The LOCAL define that belongs to `item_grid`."""
    return 1 if knobs["WORKERS"] else GENERIC_LOCAL


def nbytes(arguments: tuple[Argument, ...], case: Case) -> int:
    """Bytes of all buffers: what a kernel moves when it touches each element once."""
    total = 0
    for argument in arguments:
        total += int(np.prod(argument.shape(case))) * DTYPES[argument.storage(case)].itemsize
    return total


def symbols(case: Case) -> Array:
    """The symbols buffer of a case: seq, past, rows, start of each batch row."""
    batch = int(case.get("B", 1))
    start = list(case.get("start", ())) or [0] * batch
    head = [case.get("seq", 1), case.get("past", 0), case.get("rows_n", 1)]
    return np.array([*head, *start], np.int32)


def random_inputs(kernel: Kernel, case: Case, rng: np.random.Generator) -> dict[str, Array]:
    """Values for every argument that the kernel reads; ids reach a little past the vocabulary."""
    inputs: dict[str, Array] = {**kernel.fixed(case)}
    for argument in kernel.arguments(case):
        if argument.role == "out" or argument.name in inputs:
            continue
        dtype, shape = DTYPES[argument.storage(case)], argument.shape(case)
        if dtype.kind == "f":
            inputs[argument.name] = rng.standard_normal(shape).astype(dtype)
        elif dtype.kind == "u":  # codes, and zero points that such codes may have
            limit = 2**32 if argument.name == "w" else 2 ** CODED[case["w"]]
            inputs[argument.name] = rng.integers(0, limit, shape).astype(dtype)
        else:
            limit = int(case.get("V0", 0)) + int(case["V"])
            inputs[argument.name] = rng.integers(-2, limit + 3, shape).astype(dtype)
    return inputs
