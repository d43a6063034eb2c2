"""Rows: two statistics of a row, then a value for each of its elements.

Softmax is (max x, sum exp(x - m), exp(x - m) / s); LayerNorm is (sum x, sum (x - m/D)^2, …).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opencl_kernels.case import At, Defines, c_expression
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, Requires, nbytes, worker_grid
from opencl_kernels.map.expression import evaluate, in_c, operations
from opencl_kernels.map.indexed import PAST, SEQ, Indexed, Operand, coordinates, floats

STATISTICS: dict[str, Any] = {"sum": np.sum, "product": np.prod, "max": np.max, "min": np.min}


@dataclass(frozen=True)
class Statistics:
    """Two reductions of a row, each its name and an expression, and the value of an element."""

    first: tuple[str, str]  # m: over elements x
    second: tuple[str, str]  # s: over x and m
    value: str  # over x, m, s

    def check(self, case: Indexed) -> None:
        """Refuse, by a ValueError, what are no expressions over the case's inputs."""
        case.read(self.first[1], "x")
        case.read(self.second[1], "x", "m")
        case.read(self.value, "x", "m", "s")

    def of(self, case: Indexed, x: Array, known: Mapping[str, Any]) -> Array:
        """The values of elements x [.., row], in numpy; `known`: what expressions read."""
        found = {**known, "x": x}
        for name, (kind, text) in (("m", self.first), ("s", self.second)):
            each = np.broadcast_to(evaluate(case.read(text, "x", "m"), found), x.shape)
            found[name] = STATISTICS[kind](each, axis=-1, keepdims=True)
        return np.broadcast_to(evaluate(case.read(self.value, "x", "m", "s"), found), x.shape)

    def defines(self, case: Indexed) -> Defines:
        """As rows.clh reads them, but for x."""
        value = in_c(case.read(self.value, "x", "m", "s"))
        return {
            "FIRST": self.first[0].upper(),
            "FIRST_OF": in_c(case.read(self.first[1], "x"), "").value,
            "SECOND": self.second[0].upper(),
            "SECOND_OF": in_c(case.read(self.second[1], "x", "m"), "").value,
            "LETS": value.lets,
            "VALUE": value.value,
        }


@dataclass(frozen=True, kw_only=True)
class Rows(Indexed):
    """The last axis runs along a row."""

    x: str  # an element
    by: Statistics

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        self.read(self.x)
        self.by.check(self)


SOFTMAX = Statistics(("max", "x"), ("sum", "Exp(x - m)"), "Exp(x - m) / s")
LOG_SOFTMAX = Statistics(("max", "x"), ("sum", "Exp(x - m)"), "x - m - Log(s)")


def layer_norm(width: int, eps: float, scaled: str) -> Statistics:
    """Of a LayerNorm; `scaled`: what becomes of its values of {unit} variance."""
    centred = f"(x - m * {1 / width!r})"
    unit = f"({centred} / Sqrt(s * {1 / width!r} + {eps!r}))"
    return Statistics(("sum", "x"), ("sum", f"{centred} * {centred}"), scaled.format(unit=unit))


def reference(inputs: Mapping[str, Array], case: Rows) -> dict[str, Array]:
    """In numpy, row by row."""
    known, sizes = case.known(inputs), case.numbers()
    x = np.broadcast_to(evaluate(case.read(case.x), known), sizes)
    return {"y": case.by.of(case, x, known).reshape(-1)}


def _arguments(case: Rows) -> tuple[Argument, ...]:
    size = case.at_numbers(math.prod(case.axes))
    return (*case.arguments(), Argument("y", case.y, (size,), "out"))


def _defines(case: Rows, knobs: Knobs) -> Defines:
    *outer, inner = case.axes
    x = in_c(case.read(case.x), "u")
    return {
        **case.operand_defines(),
        "OUTER": c_expression(math.prod(outer)),
        "INNER": c_expression(inner),
        "COORDINATES": coordinates(tuple(outer)),
        "LAST": f"i{len(outer)}",
        "X_LETS": x.lets,
        "X": x.value,
        **case.by.defines(case),
        **({"WG": knobs["WG"]} if "WG" in knobs else {}),
    }


def _row_grid(case: Any, knobs: Knobs) -> Grid:
    return (case.at_numbers(math.prod(case.axes[:-1])) * knobs["WG"],), (knobs["WG"],)


def _work(case: Rows) -> tuple[int, int]:
    texts = (case.x, case.by.first[1], case.by.second[1], case.by.value)
    each = sum(operations(case.read(text, "x", "m", "s")) for text in texts)
    return nbytes(_arguments(case)), each * math.prod(case.numbers())


AFFINE = "{unit} * a1[i1] + a2[i1]"
CASES = (
    Rows(axes=(1, 1), x="a0[i0 + i1]", inputs=floats(1), by=SOFTMAX),
    Rows(axes=(5, 63), x="a0[63*i0 + i1]", inputs=floats(315), by=SOFTMAX),
    Rows(axes=(5, 63), x="a0[63*i0 + i1]", inputs=floats(315), by=LOG_SOFTMAX),
    Rows(axes=(7,), x="a0[i0]", inputs=(Operand("f16", 7),), y="f16", by=SOFTMAX),
    Rows(
        axes=(3, 65),
        x="a0[65*i0 + i1]",
        inputs=floats(195, 65, 65),
        by=layer_norm(65, 1e-5, AFFINE),
    ),
    Rows(  # scores under a mask of counters
        axes=(2, SEQ, PAST + SEQ),
        x="a0[(i0*seq + i1)*(past + seq) + i2] * 0.25 + "
        "Where(And(i2 <= past + i1, i2 >= start[0]), 0.0, -65504.0)",
        inputs=floats(2 * SEQ * (SEQ + PAST)),
        at=At(seq=5, past=30, start=(3,)),
        by=SOFTMAX,
    ),
    Rows(
        axes=(SEQ, 96),
        x="a0[96*i0 + i1]",
        inputs=floats(96 * SEQ, 96, 96),
        at=At(seq=3),
        by=layer_norm(96, 1e-5, AFFINE),
    ),
)
ON_CPU = Kernel(
    name="rows_cpu",
    source="rows_cpu.cl",
    classes=("cpu",),
    defines=_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 3)},
)
PORTABLE = Kernel(
    name="rows",
    source="rows.cl",
    classes=("generic",),
    defines=_defines,
    grid=_row_grid,
    knobs={"WG": (64, 16)},
    requires=lambda _, knobs: Requires(local_bytes=4 * knobs["WG"]),
)
FAMILY = Family(
    name="rows",
    case=Rows,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=(
        Rows(
            axes=(512, 768),
            x="a0[768*i0 + i1]",
            inputs=floats(512 * 768, 768, 768),
            by=layer_norm(768, 1e-5, AFFINE),
        ),
    ),
    kernels=(ON_CPU, PORTABLE),
)
