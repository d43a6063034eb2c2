"""Any expression over up to eight broadcast inputs: what no other kernel covers.

A case holds EXPR (C, over a0, a1, ...), COUNT (elements of y), INPUTS (how many), and where they
differ from the default: IDX0 ... (C, over i; default "i"), SIZE0 ... (elements of an input; default
COUNT), "a0" ... and "y" (storage types), COUNT_C (COUNT as a C expression over symbols).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
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
)

FUNCTIONS: dict[str, Any] = {  # the C functions of reference expressions
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "fabs": np.abs,
    "pow": np.power,
    "erf": np.vectorize(math.erf, otypes=[float]),
    "larger": np.maximum,
    "smaller": np.minimum,
    "SILU": lambda v: v / (1 + np.exp(-v)),
    "INFINITY": np.inf,
    "NAN": np.nan,
}


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """EXPR and the index maps, read as Python: they use only what C and Python share."""
    names: dict[str, Any] = {"i": np.arange(case["COUNT"])}
    for j in range(case["INPUTS"]):
        index = eval(case.get(f"IDX{j}", "i").replace("/", "//"), {}, {"i": names["i"]})
        names[f"a{j}"] = inputs[f"a{j}"].astype(np.float64)[index]
    expression = re.sub(r"(?<=[\d.])f\b", "", case["EXPR"])  # 1.0f is no Python
    return {"y": np.broadcast_to(eval(expression, FUNCTIONS, names), case["COUNT"])}


def _size(j: int) -> Callable[[Case], tuple[Any, ...]]:
    return lambda case: (case.get(f"SIZE{j}", case["COUNT"]),)


def _arguments(case: Case) -> tuple[Argument, ...]:
    inputs = (Argument(f"a{j}", f"a{j}", _size(j), "in") for j in range(case["INPUTS"]))
    return (*inputs, Argument("y", "y", lambda c: (c["COUNT"],), "out"))


def _defines(case: Case, knobs: Knobs) -> Defines:
    inputs = range(case["INPUTS"])
    return {
        **storage_defines(case, *(f"a{j}" for j in inputs), "y"),
        **{f"IDX{j}(i)": f"({case.get(f'IDX{j}', 'i')})" for j in inputs},
        "INPUTS": case["INPUTS"],
        "EXPR": f"({case['EXPR']})",
        "COUNT": case.get("COUNT_C", case["COUNT"]),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Case, knobs: Knobs) -> Grid:
    return item_grid(case["COUNT"], knobs)


def _work(case: Case) -> tuple[int, int]:
    return nbytes(_arguments(case), case), case["COUNT"] * max(1, case["INPUTS"] - 1)


ELEMENTWISE = Kernel(
    name="elementwise",
    source="elementwise.cl",
    classes=("cpu", "generic"),
    arguments=_arguments,
    reference=reference,
    defines=_defines,
    grid=_grid,
    work=_work,
    knobs={"WORKERS": (8, 0)},
    cases=(
        {"EXPR": "a0 + a1", "INPUTS": 2, "COUNT": 7},
        {"EXPR": "0.5f", "INPUTS": 0, "COUNT": 63},
        {"EXPR": "larger(a0 - a1, 0.25f) * exp(a2)", "INPUTS": 3, "COUNT": 65, "SIZE1": 13,
         "IDX1": "i % 13", "SIZE2": 5, "IDX2": "i / 13"},
        {"EXPR": "SILU(a0) * a1", "INPUTS": 2, "COUNT": 84, "COUNT_C": "(SEQ*12)", "seq": 7,
         "a0": "f16", "y": "f16"},
        {"EXPR": "a0 + a1 * a2 - a3 + a4 * a5 - a6 * a7", "INPUTS": 8, "COUNT": 130},
    ),
)  # fmt: skip
