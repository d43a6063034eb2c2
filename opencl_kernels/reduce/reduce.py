"""Reduce: an element of the output is a sum, product or extreme over a range of coordinates.

Also what computes any product of tensors that has no kernel of its own: a sum of a0[…] * a1[…].
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
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, item_grid, local_size, nbytes
from opencl_kernels.map.expression import Node, evaluate, in_c, operations
from opencl_kernels.map.functions import BOOL, INT
from opencl_kernels.map.indexed import PAST, SEQ, Indexed, Operand, coordinates, floats
from opencl_kernels.rows.rows import STATISTICS


@dataclass(frozen=True, kw_only=True)
class Reduction(Indexed):
    """y[o] = value(s), s = op over x; the last `reduced` axes are those of the reduction."""

    reduced: int
    op: str  # sum, product, max or min
    x: str  # an element
    value: str = "s"

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        self.result()
        if self.op not in STATISTICS or not 0 < self.reduced <= len(self.axes):
            raise ValueError(f"no reduction by {self.op} over {self.reduced} axes")
        if self.element().kind == BOOL:
            raise ValueError("truth values are reduced as integers")

    def element(self) -> Node:
        """What is reduced: floats or integers."""
        return self.read(self.x)

    def result(self) -> Node:
        """What becomes of s, which is of the elements' kind."""
        return self.read(self.value, "s", kind=self.element().kind)

    @property
    def outer(self) -> tuple[Any, ...]:
        """Axes of the output."""
        return self.axes[: -self.reduced]


def reference(inputs: Mapping[str, Array], case: Reduction) -> dict[str, Array]:
    """In numpy, over open grids of all coordinates."""
    known, sizes = case.known(inputs), case.numbers()
    each = np.broadcast_to(evaluate(case.element(), known), sizes)
    axes = tuple(range(len(sizes) - case.reduced, len(sizes)))
    known["s"] = STATISTICS[case.op](each, axis=axes, keepdims=True)
    return {"y": np.asarray(evaluate(case.result(), known)).reshape(-1)}


def _arguments(case: Reduction) -> tuple[Argument, ...]:
    size = case.at_numbers(math.prod(case.outer))
    return (*case.arguments(), Argument("y", case.y, (size,), "out"))


def _defines(case: Reduction, knobs: Knobs) -> Defines:
    x, inner = in_c(case.element()), case.axes[-case.reduced :]
    return {
        **case.operand_defines(),
        "OUTER": c_expression(math.prod(case.outer)),
        "INNER": c_expression(math.prod(inner)),
        "COORDINATES": coordinates(case.outer),
        "INNER_COORDINATES": coordinates(inner, len(case.outer), "k"),
        "LETS": x.lets,
        "X": x.value,
        "OP": case.op.upper(),
        "VALUE": in_c(case.result(), "").value,
        "WHOLE": int(case.element().kind == INT),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Reduction, knobs: Knobs) -> Grid:
    return item_grid(case.at_numbers(math.prod(case.outer)), knobs)


def _work(case: Reduction) -> tuple[int, int]:
    each = operations(case.element()) + 1
    return nbytes(_arguments(case)), each * math.prod(case.numbers())


CASES = (
    Reduction(axes=(1,), reduced=1, op="sum", x="a0[i0]", inputs=floats(1)),
    Reduction(
        axes=(7, 63), reduced=1, op="sum", x="a0[63*i0 + i1]", value="s / 63.0", inputs=floats(441)
    ),
    Reduction(
        axes=(5, 3, 4),
        reduced=2,
        op="max",
        x="a0[i0 + 5*i2 + 20*i1]",
        inputs=(Operand("f16", 60),),
        y="f16",
    ),
    Reduction(axes=(5, 9), reduced=1, op="product", x="a0[9*i0 + i1]", inputs=floats(45)),
    Reduction(
        axes=(9, 7),
        reduced=1,
        op="product",
        x="a0[7*i0 + i1]",
        y="i32",
        inputs=(Operand("i32", 63),),
    ),
    Reduction(
        axes=(2, 3, 19),
        reduced=2,
        op="max",
        x="a0[57*i0 + 19*i1 + i2]",
        value="Neg(s)",
        y="i64",
        inputs=(Operand("i64", 114),),
    ),
    Reduction(
        axes=(41, 7),
        reduced=1,
        op="min",
        x="Int(a0[7*i0 + i1])",
        value="Bool(s)",
        y="u8",
        inputs=(Operand("u8", 287),),
    ),
    Reduction(
        axes=(SEQ, 33),
        reduced=1,
        op="sum",
        x="Int(a0[i0 + i1*seq] > 0.5)",
        value="Float(s) / 33.0",
        inputs=floats(33 * SEQ),
        at=At(seq=3),
    ),
    Reduction(axes=(5, 17), reduced=1, op="min", x="Abs(a0[17*i0 + i1])", inputs=floats(85)),
    Reduction(  # queries times keys, which are shared by heads
        axes=(6, SEQ, PAST + SEQ, 16),
        reduced=1,
        op="sum",
        x="a0[96*i1 + 16*i0 + i3] * a1[640*(i0 // 3) + 16*i2 + i3]",
        inputs=floats(96 * SEQ, 1280),
        at=At(seq=7, past=30),
    ),
)
REDUCE = Kernel(
    name="reduce",
    source="reduce.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,)},
)
FAMILY = Family(
    name="reduce",
    case=Reduction,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=(
        Reduction(
            axes=(512, 2048), reduced=1, op="sum", x="a0[2048*i0 + i1]", inputs=floats(1 << 20)
        ),
    ),
    kernels=(REDUCE,),
)
