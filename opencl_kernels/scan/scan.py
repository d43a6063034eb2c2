"""Scan: sums, products or extremes of all elements of a row up to each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from opencl_kernels.case import At, Defines
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Kernel, Knobs, local_size, nbytes
from opencl_kernels.map.expression import evaluate, operations
from opencl_kernels.map.indexed import PAST, SEQ, Operand, floats
from opencl_kernels.scan.row import Row, row_defines, row_grid

SCANS = {"sum": np.add, "product": np.multiply, "max": np.maximum, "min": np.minimum}


@dataclass(frozen=True, kw_only=True)
class Scan(Row):
    """y[i] = op over x[0] … x[i] of a row."""

    op: str  # sum, product, max or min
    exclusive: bool = False  # without x[i] itself
    reverse: bool = False  # from the row's end

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        if self.op not in SCANS:
            raise ValueError(f"no scan by {self.op}")


def reference(inputs: Mapping[str, Array], case: Scan) -> dict[str, Array]:
    """In numpy; an exclusive scan begins with the result over nothing."""
    sizes = case.numbers()
    x = np.broadcast_to(evaluate(case.element(), case.known(inputs)), sizes)
    x = x[..., ::-1] if case.reverse else x
    y = SCANS[case.op].accumulate(x, axis=-1)
    if case.exclusive:
        y = np.concatenate([np.full_like(y[..., :1], case.op == "product"), y[..., :-1]], axis=-1)
    return {"y": (y[..., ::-1] if case.reverse else y).reshape(-1)}


def _arguments(case: Scan) -> tuple[Argument, ...]:
    size = case.at_numbers(math.prod(case.axes))
    return (*case.arguments(), Argument("y", case.y, (size,), "out"))


def _defines(case: Scan, knobs: Knobs) -> Defines:
    return {
        **row_defines(case),
        "OP": case.op.upper(),
        "EXCLUSIVE": int(case.exclusive),
        "REVERSE": int(case.reverse),
        "LOCAL": local_size(knobs),
    }


def _work(case: Scan) -> tuple[int, int]:
    each = operations(case.element()) + 1
    return nbytes(_arguments(case)), each * math.prod(case.numbers())


CASES = (
    Scan(axes=(1,), x="a0[i0]", op="sum", inputs=floats(1)),
    Scan(axes=(5, 63), x="a0[63*i0 + i1]", op="sum", inputs=floats(315)),
    Scan(axes=(3, 5, 7), x="a0[35*i0 + i1 + 5*i2]", op="product", inputs=floats(105)),
    Scan(
        axes=(7, 9),
        x="a0[9*i0 + i1]",
        op="sum",
        exclusive=True,
        inputs=(Operand("f16", 63),),
        y="f16",
    ),
    Scan(
        axes=(3, 17),
        x="a0[17*i0 + i1]",
        op="product",
        exclusive=True,
        reverse=True,
        inputs=floats(51),
    ),
    Scan(axes=(2, 9), x="a0[i0]", op="sum", reverse=True, inputs=(Operand("i32", 2),), y="i32"),
    Scan(axes=(5, 33), x="a0[33*i0 + i1]", op="max", inputs=(Operand("i64", 165),), y="i64"),
    Scan(  # positions: how many tokens before are no padding
        axes=(2, PAST + SEQ),
        x="Int(i1 >= start[i0])",
        op="sum",
        y="i64",
        B=2,
        at=At(seq=5, past=30, start=(3, 0)),
    ),
    Scan(  # along the first axis of a matrix
        axes=(13, SEQ),
        x="Int(a0[13*i1 + i0] > 0.5)",
        op="sum",
        exclusive=True,
        inputs=floats(13 * SEQ),
        y="i64",
        at=At(seq=21),
    ),
)
KERNEL = Kernel(
    name="scan",
    source="scan.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=row_grid,
    knobs={"WORKERS": (0,)},
)
FAMILY = Family(
    name="scan",
    case=Scan,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=(Scan(axes=(512, 2048), x="a0[2048*i0 + i1]", op="sum", inputs=floats(1 << 20)),),
    kernels=(KERNEL,),
)
