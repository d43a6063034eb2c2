"""Scatter: updates go to elements of y that indices name, and join what is there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opencl_kernels.case import At, Defines, Size, c_expression
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, item_grid, local_size, nbytes
from opencl_kernels.map.expression import evaluate, in_c, operations
from opencl_kernels.map.functions import FLOAT
from opencl_kernels.map.indexed import SEQ, Indexed, Operand, coordinates, floats, random_of

JOINED: dict[str, Any] = {
    "sum": np.add.at,
    "product": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}
LATEST = "latest"  # an update replaces what is there


@dataclass(frozen=True, kw_only=True)
class Scatter(Indexed):
    """y[into] = op(y[into], value) at every coordinate.

    The last `serial` axes are taken in order: two updates may go to one element only where they
    differ in these alone.
    """

    serial: int
    value: str
    into: str  # the element of y, which must not leave it
    elements: Size  # of y
    op: str = LATEST  # or sum, product, max, min

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        self.read(self.value)
        self.read(self.into)
        if self.op not in (LATEST, *JOINED) or not 0 <= self.serial <= len(self.axes):
            raise ValueError(f"no scatter by {self.op} along {self.serial} axes")

    @property
    def columns(self) -> tuple[Size, ...]:
        """Axes along which updates never meet."""
        return self.axes[: len(self.axes) - self.serial]


def reference(inputs: Mapping[str, Array], case: Scatter) -> dict[str, Array]:
    """In numpy, one update after the other."""
    known, sizes = case.known(inputs), case.numbers()
    value = np.broadcast_to(evaluate(case.read(case.value), known), sizes).reshape(-1)
    into = np.broadcast_to(evaluate(case.read(case.into), known), sizes).reshape(-1)
    y = inputs["y"].astype(value.dtype)
    if case.op == LATEST:
        y[into] = value
    else:
        JOINED[case.op](y, into, value)
    return {"y": y}


def _arguments(case: Scatter) -> tuple[Argument, ...]:
    size = (case.at_numbers(case.elements),)
    y = Argument("y", case.y, size, "inout", random=random_of(case.y, size))
    return (*case.arguments(), y)


def _defines(case: Scatter, knobs: Knobs) -> Defines:
    value, into = in_c(case.read(case.value)), in_c(case.read(case.into), "u")
    columns, inner = case.columns, case.axes[len(case.columns) :]
    return {
        **case.operand_defines(),
        "OUTER": c_expression(math.prod(columns)),
        "INNER": c_expression(math.prod(inner)),
        "COORDINATES": coordinates(columns),
        "INNER_COORDINATES": coordinates(inner, len(columns), "k"),
        "INTO_LETS": into.lets,
        "INTO": into.value,
        "LETS": value.lets,
        "VALUE": value.value,
        "OP": case.op.upper(),
        "WHOLE": int(case.read(case.value).kind != FLOAT),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Scatter, knobs: Knobs) -> Grid:
    return item_grid(case.at_numbers(math.prod(case.columns)), knobs)


def _work(case: Scatter) -> tuple[int, int]:
    each = operations(case.read(case.value)) + operations(case.read(case.into)) + 1
    return nbytes(_arguments(case)), each * math.prod(case.numbers())


def _updates(*sizes: Size) -> tuple[Operand, ...]:
    """Indices, then what goes to them."""
    return (Operand("i64", sizes[0]), *floats(sizes[1]))


CASES = (
    Scatter(axes=(1,), serial=1, into="i0", value="a0[i0]", elements=1, inputs=floats(1)),
    Scatter(  # several for one element: the last one stays
        axes=(5, 9),
        serial=1,
        into="5*Within(a0[9*i0 + i1], 7) + i0",
        value="a1[9*i0 + i1]",
        elements=35,
        inputs=_updates(45, 45),
    ),
    Scatter(  # indices beyond both ends
        axes=(2, 3, 7),
        serial=1,
        into="33*i0 + 3*Within(2*a0[7*i1 + i2], 11) + i1",
        value="a1[21*i0 + 7*i1 + i2]",
        elements=66,
        op="sum",
        inputs=_updates(21, 42),
    ),
    Scatter(
        axes=(7, 5),
        serial=1,
        into="7*Within(a0[i1], 3) + i0",
        value="0.5 + Abs(a1[7*i1 + i0])",
        elements=21,
        op="product",
        inputs=_updates(5, 35),
    ),
    Scatter(
        axes=(3, 31),
        serial=1,
        into="3*Within(a0[i1], 5) + i0",
        value="a1[3*i1 + i0]",
        elements=15,
        op="max",
        inputs=(Operand("i32", 31), Operand("f16", 93)),
        y="f16",
    ),
    Scatter(
        axes=(3, 31),
        serial=1,
        into="3*Within(a0[i1], 5) + i0",
        value="a1[3*i1 + i0]",
        elements=15,
        op="min",
        inputs=(Operand("i32", 31), Operand("i64", 93)),
        y="i64",
    ),
    Scatter(axes=(9,), serial=0, into="2*i0 + 1", value="i0 == 4", elements=19, y="u8"),
    Scatter(  # along two axes in order
        axes=(3, 5),
        serial=2,
        into="7*Within(a0[10*i0 + 2*i1], 4) + Within(a0[10*i0 + 2*i1 + 1], 7)",
        value="a1[5*i0 + i1]",
        elements=28,
        op="sum",
        inputs=_updates(30, 15),
    ),
    Scatter(  # rows are added where their tokens are
        axes=(65, SEQ),
        serial=1,
        into="65*Within(a0[i1], 9) + i0",
        value="a1[65*i1 + i0]",
        elements=585,
        op="sum",
        inputs=_updates(SEQ, 65 * SEQ),
        at=At(seq=13),
    ),
)
KERNEL = Kernel(
    name="scatter",
    source="scatter.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,)},
)
FAMILY = Family(
    name="scatter",
    case=Scatter,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=(
        Scatter(
            axes=(1024, 512),
            serial=1,
            into="1024*Within(a0[i1], 512) + i0",
            value="a1[1024*i1 + i0]",
            elements=1 << 19,
            op="sum",
            inputs=_updates(512, 1 << 19),
        ),
    ),
    kernels=(KERNEL,),
)
