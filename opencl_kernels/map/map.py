"""Map: every element of an output is an expression over elements of inputs (`expression`).

Movement and elementwise arithmetic, whatever ops it came from; writes through an index too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opencl_kernels.case import At, Defines, Size, c_expression, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Grid,
    Kernel,
    Knobs,
    item_grid,
    local_size,
    nbytes,
)
from opencl_kernels.map.expression import evaluate, in_c, operations
from opencl_kernels.map.indexed import PAST, SEQ, Indexed, Operand, coordinates, floats


@dataclass(frozen=True, kw_only=True)
class Map(Indexed):
    """y[into] = value at every coordinate; the last one runs fastest."""

    value: str
    into: str = ""  # the element of y; "": in the order of the coordinates
    elements: Size | None = None  # of y; None: as many as there are coordinates

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        for text in (self.value, self.into or "0"):
            self.read(text)

    @property
    def size(self) -> Any:
        """Elements of y."""
        return self.at_numbers(math.prod(self.axes) if self.elements is None else self.elements)


def reference(inputs: Mapping[str, Array], case: Map) -> dict[str, Array]:
    """The expression at all coordinates at once; elements that are not written stay as they are."""
    known, sizes = case.known(inputs), case.numbers()
    value = np.broadcast_to(evaluate(case.read(case.value), known), sizes)
    if not case.into:
        return {"y": value.reshape(-1)}
    y = inputs["y"].astype(value.dtype)
    y[np.broadcast_to(evaluate(case.read(case.into), known), sizes)] = value
    return {"y": y}


def arguments(case: Map) -> tuple[Argument, ...]:
    """Inputs a0, a1 … and y; a y that is written in part keeps what it has elsewhere."""
    return (*case.arguments(), Argument("y", case.y, (case.size,), "inout" if case.into else "out"))


def _defines(case: Map, knobs: Knobs) -> Defines:
    *outer, inner = case.axes
    last = f"i{len(outer)}"
    source = in_c(case.read(case.value))
    place = f"r * inner + {last}" if outer else last
    return {
        **case.operand_defines(),
        "OUTER": c_expression(math.prod(outer)),
        "INNER": c_expression(inner),
        "COORDINATES": coordinates(tuple(outer)),
        "LAST": last,
        "LETS": source.lets,
        "VALUE": source.value,
        "INTO": in_c(case.read(case.into)).value if case.into else place,
        "LOCAL": local_size(knobs),
    }


def _grid(case: Map, knobs: Knobs) -> Grid:
    *outer, inner = (case.at_numbers(size) for size in case.axes)
    return item_grid(math.prod(outer) * ceil_div(inner, knobs["PIECE"]), knobs)


def _work(case: Map) -> tuple[int, int]:
    count = math.prod(case.numbers())
    return nbytes(arguments(case)), count * operations(case.read(case.value))


CASES = (
    Map(axes=(7,), value="a0[i0] + a1[i0]", inputs=floats(7, 7)),
    Map(axes=(63,), value="0.5"),
    Map(
        axes=(5, 13),
        value="Max(a0[13*i0 + i1] - a1[i1], 0.25) * Exp(a2[i0])",
        inputs=floats(65, 13, 5),
    ),
    Map(
        axes=(SEQ, 12),
        value="Sigmoid(a0[12*i0 + i1]) * a0[12*i0 + i1] * a1[12*i0 + i1]",
        inputs=(Operand("f16", 12 * SEQ), Operand("f32", 12 * SEQ)),
        y="f16",
        at=At(seq=7),
    ),
    Map(  # transposed; several axes
        axes=(3, 5, 7, 2),
        value="a0[14*i1 + 70*i0 + i2 + 7*i3]",
        inputs=floats(210),
    ),
    Map(  # half of a head is turned
        axes=(SEQ, 3, 16),
        value="a0[48*i0 + 16*i1 + i2] * a1[8*within_pos + i2 % 8] + "
        "Where(i2 < 8, Neg(a0[48*i0 + 16*i1 + i2 + 8]), a0[48*i0 + 16*i1 + i2 - 8]) "
        "* a2[8*within_pos + i2 % 8]".replace("within_pos", "Within(past + i0, 20)"),
        inputs=floats(48 * SEQ, 160, 160),
        at=At(seq=5, past=9),
    ),
    Map(  # a mask of counters
        axes=(SEQ, PAST + SEQ),
        value="Where(And(i1 <= past + i0, i1 >= start[0]), 0.0, -65504.0)",
        at=At(seq=7, past=6, start=(2,)),
    ),
    Map(axes=(2, 9), value="a0[i1] == 3", inputs=(Operand("i64", 9),), y="u8"),
    Map(
        axes=(9,),
        value="Where(a0[i0], a1[i0], Int(-7.9) + 5000000000)",
        inputs=(Operand("u8", 9), Operand("i64", 9)),
        y="i64",
    ),
    Map(  # written through an index
        axes=(2, SEQ, 4),
        value="a0[4*i0*seq + 4*i1 + i2]",
        inputs=floats(8 * SEQ),
        into="44*i0 + 4*((past + i1) % 11) + i2",
        elements=88,
        at=At(seq=3, past=9),
    ),
)
KERNEL = Kernel(
    name="map",
    source="map.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,), "PIECE": (1, 5)},
)
FAMILY = Family(
    name="map",
    case=Map,
    arguments=arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=(
        Map(
            axes=(512, 2048),
            value="a0[2048*i0 + i1] + a1[2048*i0 + i1]",
            inputs=floats(1 << 20, 1 << 20),
        ),
    ),
    kernels=(KERNEL,),
)
