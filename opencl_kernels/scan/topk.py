"""Top-k: the first k elements of a row in order, and their places; arg-max is the first one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sympy import sympify

from opencl_kernels.case import At, Defines, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Grid,
    Kernel,
    Knobs,
    Requires,
    local_size,
    nbytes,
)
from opencl_kernels.map.expression import evaluate, in_c, operations
from opencl_kernels.map.functions import FLOAT, INT
from opencl_kernels.map.indexed import PAST, SEQ, Operand, floats
from opencl_kernels.rows.rows import SOFTMAX, Statistics
from opencl_kernels.scan.groups import Groups, order_of
from opencl_kernels.scan.row import Row, row_defines, row_grid

SHORT = 512  # elements of a row that a work-item keeps
SHORT_ROOM = 16384  # bytes of local memory that a work-group keeps rows in


@dataclass(frozen=True, kw_only=True)
class TopK(Row):
    """y, indices [rows, k] of elements x, or of what `by` makes of a row; it has k or more."""

    k: int
    largest: bool = True
    later: bool = False  # of equal elements the later one comes first
    by: Statistics | None = None  # of floats x: the elements are its values, as in `Rows`
    groups: Groups | None = None  # of a short row of floats

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        if self.k < 1:
            raise ValueError(f"no row has {self.k} first elements")
        if self.by is not None and self.element().kind != FLOAT:
            raise ValueError("statistics are of floats")
        if self.groups is not None:
            self._check_groups(self.groups)

    def _check_groups(self, groups: Groups) -> None:
        size = self.row_size or 0
        plain = self.largest and not self.later and self.element().kind == FLOAT
        if not plain or size > SHORT or size % groups.count:
            raise ValueError("groups are of the greatest floats, in runs of equal length")
        if not (0 < groups.kept <= groups.count and 0 < groups.best <= size // groups.count):
            raise ValueError(f"{groups} are not of {size} elements")
        self.read(groups.fill)

    @property
    def row_size(self) -> int | None:
        """Elements of a row, where that is a number."""
        return int(self.axes[-1]) if sympify(self.axes[-1]).is_Integer else None


def reference(inputs: Mapping[str, Array], case: TopK) -> dict[str, Array]:
    """In numpy, by a stable sort; what is no number comes first."""
    known, sizes = case.known(inputs), case.numbers()
    x = np.broadcast_to(evaluate(case.element(), known), sizes)
    x = x if case.by is None else case.by.of(case, x, known)
    if case.groups is not None:
        x = case.groups.of(x, float(evaluate(case.read(case.groups.fill), {})))
    order = order_of(x[..., ::-1] if case.later else x, case.largest)
    places = order[..., np.minimum(np.arange(case.k), x.shape[-1] - 1)]
    if case.later:
        places = x.shape[-1] - 1 - places
    values = np.take_along_axis(x, places, axis=-1)
    return {"y": values.reshape(-1), "indices": places.reshape(-1)}


def _arguments(case: TopK) -> tuple[Argument, ...]:
    size = case.at_numbers(math.prod(case.axes[:-1])) * case.k
    outputs = (("y", case.y), ("indices", "i64"))
    return (
        *case.arguments(),
        *(Argument(name, dtype, (size,), "out") for name, dtype in outputs),
    )


def _defines(case: TopK, knobs: Knobs) -> Defines:
    return {
        **row_defines(case, "X_LETS", "u"),
        "K": case.k,
        "LARGEST": int(case.largest),
        "LATER": int(case.later),
        **({} if case.by is None else {"BY": 1, **case.by.defines(case)}),
        "LOCAL": local_size(knobs),
    }


def _short_defines(case: TopK, knobs: Knobs) -> Defines:
    own: Defines = {"SIZE": case.row_size or 0, "LOCAL": _short_local(case, knobs)}
    return {**_defines(case, knobs), **own, **_group_defines(case)}


def _group_defines(case: TopK) -> Defines:
    if case.groups is None:
        return {}
    groups = case.groups
    fill = in_c(case.read(groups.fill)).value
    return {"GROUPS": groups.count, "BEST": groups.best, "KEPT": groups.kept, "FILL": fill}


def _kept_bytes(case: TopK) -> int:
    """What a work-item keeps: a row, its places; while it looks for the best groups, theirs."""
    groups = case.groups or Groups(0, 0, 0)
    number = 8 if case.element().kind == INT else 4
    numbers = (case.row_size or 0) + groups.count
    return number * numbers + 4 * max(case.k, groups.best + groups.kept)


def _short_local(case: TopK, knobs: Knobs) -> int:
    """Work-items of a group: as many as find room for what they keep."""
    local = local_size(knobs)
    while local > 1 and local * _kept_bytes(case) > SHORT_ROOM:
        local //= 2
    return local


def _short_grid(case: TopK, knobs: Knobs) -> Grid:
    if knobs["WORKERS"]:
        return row_grid(case, knobs)
    rows, local = case.at_numbers(math.prod(case.axes[:-1])), _short_local(case, knobs)
    return (ceil_div(rows, local) * local,), (local,)


def _short_requires(case: TopK, knobs: Knobs) -> Requires:
    """What its work-items keep; a work-item alone, on a processor, has private memory as near."""
    local = _short_local(case, knobs)
    return Requires(local_bytes=local * _kept_bytes(case) if local > 1 else 0)


def _is_short(case: TopK) -> str | None:
    short = case.row_size is not None and 0 < case.row_size <= SHORT and case.k <= SHORT
    return None if short else f"it keeps rows of up to {SHORT} elements"


def _has_no_groups(case: TopK) -> str | None:
    return "it reads a row again and again" if case.groups else None


def _work(case: TopK) -> tuple[int, int]:
    """Elements that are not among the first are compared once."""
    each = operations(case.element()) + 1
    return nbytes(_arguments(case)), each * math.prod(case.numbers())


CASES = (
    TopK(axes=(1,), x="a0[i0]", k=1, inputs=floats(1)),
    TopK(axes=(5, 8), x="a0[8*i0 + i1]", k=2, inputs=floats(40)),
    TopK(axes=(3, 7), x="a0[3*i1 + i0]", k=7, largest=False, inputs=floats(21)),
    TopK(axes=(3, 65), x="a0[65*i0 + i1]", k=9, inputs=(Operand("f16", 195),), y="f16"),
    TopK(axes=(7, 33), x="a0[33*i0 + i1]", k=12, inputs=(Operand("i64", 231),), y="i64"),  # ties
    TopK(
        axes=(7, 33),
        x="a0[33*i0 + i1]",
        k=3,
        largest=False,
        later=True,
        inputs=(Operand("i32", 231),),
        y="i32",
    ),
    TopK(axes=(2, 3), x="a0[3*i0 + i1]", k=5, inputs=floats(6)),  # more than there are
    TopK(axes=(3, 1021), x="a0[1021*i0 + i1]", k=1, later=True, inputs=floats(3063)),
    TopK(  # an axis of open size
        axes=(2, SEQ, PAST + SEQ),
        x="a0[(i0*seq + i1)*(past + seq) + i2]",
        k=4,
        inputs=floats(2 * SEQ * (SEQ + PAST)),
        at=At(seq=5, past=30),
    ),
    TopK(  # a router
        axes=(SEQ, 64),
        x="a0[64*i0 + i1] + a1[i1]",
        k=8,
        inputs=floats(64 * SEQ, 64),
        at=At(seq=7),
    ),
    TopK(axes=(5, 33), x="a0[33*i0 + i1]", k=4, inputs=floats(165), by=SOFTMAX),
    TopK(axes=(SEQ, 1), x="a0[i0]", k=1, inputs=floats(SEQ), at=At(seq=3), by=SOFTMAX, y="f16"),
    TopK(
        axes=(3, 65),
        x="a0[65*i0 + i1] - a1[i1]",
        k=3,
        largest=False,
        inputs=floats(195, 65),
        by=Statistics(("sum", "x"), ("max", "Abs(x)"), "(x - m) / s + a1[i1]"),
    ),
    TopK(  # so long that few work-items find room for them
        axes=(5, 512), x="a0[512*i0 + i1]", k=300, inputs=(Operand("i64", 2560),), y="i64"
    ),
    TopK(  # longer rows than a work-item keeps
        axes=(2, 517),
        x="a0[517*i0 + i1]",
        k=3,
        inputs=(Operand("f16", 1034),),
        by=SOFTMAX,
    ),
    TopK(axes=(3, 6), x="a0[6*i0 + i1]", k=2, inputs=floats(18), groups=Groups(3, 1, 2)),
    TopK(
        axes=(2, 5), x="a0[5*i0 + i1]", k=4, inputs=floats(10), groups=Groups(5, 1, 2, "-65504.0")
    ),
    TopK(  # ties
        axes=(7, 30),
        x="Float(a0[30*i0 + i1])",
        k=9,
        inputs=(Operand("i64", 210),),
        groups=Groups(5, 2, 3),
    ),
    TopK(
        axes=(SEQ, 256),
        x="Sigmoid(a0[256*i0 + i1]) + a1[i1]",
        k=8,
        inputs=(Operand("f16", 256 * SEQ), Operand("f32", 256)),
        groups=Groups(8, 2, 4),
        at=At(seq=3),
        y="f16",
    ),
    TopK(
        axes=(5, 21),
        x="a0[21*i0 + i1]",
        k=5,
        inputs=floats(105),
        by=SOFTMAX,
        groups=Groups(3, 7, 1, "-1.0"),
    ),
)
TOPK_SHORT = Kernel(
    name="topk_short",
    source="topk_short.cl",
    classes=("cpu", "generic"),
    defines=_short_defines,
    grid=_short_grid,
    knobs={"WORKERS": (0,)},
    supports=_is_short,
    requires=_short_requires,
)
TOPK = Kernel(
    name="topk",
    source="topk.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=row_grid,
    knobs={"WORKERS": (0,)},
    supports=_has_no_groups,
)
FAMILY = Family(
    name="topk",
    case=TopK,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=(
        TopK(
            axes=(1, 256),
            x="Sigmoid(a0[i1]) + a1[i1]",
            k=8,
            inputs=floats(256, 256),
            groups=Groups(8, 2, 4),
        ),
        TopK(axes=(512, 64), x="a0[64*i0 + i1]", k=8, inputs=floats(1 << 15)),
        TopK(axes=(1, 151936), x="a0[i1]", k=1, inputs=floats(151936)),
    ),
    kernels=(TOPK_SHORT, TOPK),
)
