"""Greedy sampling on the device: the largest logit's id, and the step of the position."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Case, Defines, Grid, Kernel, Knobs, cpu_grid, symbols


def best_id(logits_V: Array) -> int:
    """The lowest id of the maximum; -1 if the maximum is no number (any NaN makes it NaN)."""
    top = np.max(logits_V)
    return int(np.argmax(logits_V)) if np.isfinite(top) else -1


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """Ids of the last row of each batch row, stored twice; `past` moves on by `seq`."""
    seq, past, rows, *_ = sym = symbols(case)
    logits = inputs["logits"].reshape(case["B"], rows, case["V"])
    tokens = np.array([best_id(row) for row in logits[:, -1]], np.int32)
    ids = inputs["ids"].copy()
    ids[:, past + seq] = tokens
    sym[1] = past + seq
    return {"tokens": tokens, "ids": ids, "sym": sym}


def _arguments(case: Case) -> tuple[Argument, ...]:
    return (
        Argument("logits", "f32", lambda c: (c["M"], c["V"]), "in"),
        Argument("tokens", "i32", lambda c: (c["B"],), "out"),
        Argument("ids", "i32", lambda c: (c["B"], c["C"] + 1), "inout"),
    )


def _defines(case: Case, knobs: Knobs) -> Defines:
    sizes: Defines = {name: case[name] for name in ("B", "V", "C")}
    return {**sizes, "WG": knobs["WG"]} if "WG" in knobs else sizes


def _group_grid(case: Case, knobs: Knobs) -> Grid:
    return (knobs["WG"],), (knobs["WG"],)


def _work(case: Case) -> tuple[int, int]:
    return 4 * case["B"] * case["V"], case["B"] * case["V"]


CASES: tuple[Case, ...] = (
    {"M": 1, "V": 7, "B": 1, "C": 4, "seq": 1, "past": 3, "rows_n": 1, "rows": "last"},
    {"M": 1, "V": 65, "B": 1, "C": 9, "seq": 5, "past": 0, "rows_n": 1, "rows": "last"},
    {"M": 6, "V": 1003, "B": 2, "C": 9, "seq": 4, "past": 2, "rows_n": 3, "rows": "last"},
)


def _kernel(name: str, cpu: bool) -> Kernel:
    return Kernel(
        name=name,
        source=f"{name}.cl",
        classes=("cpu",) if cpu else ("generic",),
        arguments=_arguments,
        reference=reference,
        defines=_defines,
        grid=cpu_grid if cpu else _group_grid,
        work=_work,
        knobs={"GROUPS": (1, 3)} if cpu else {"WG": (256, 32)},
        cases=CASES,
    )


ARGMAX = _kernel("argmax", cpu=False)
ARGMAX_CPU = _kernel("argmax_cpu", cpu=True)
