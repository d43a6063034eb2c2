"""Top-k: the first k elements of a row in order, and their places; arg-max is the first one."""

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
from opencl_kernels.map.functions import FLOAT
from opencl_kernels.map.indexed import PAST, SEQ, Operand, floats
from opencl_kernels.rows.rows import SOFTMAX, Statistics
from opencl_kernels.scan.row import Row, row_defines, row_grid


@dataclass(frozen=True, kw_only=True)
class TopK(Row):
    """y, indices [rows, k] of elements x, or of what `by` makes of a row; it has k or more."""

    k: int
    largest: bool = True
    later: bool = False  # of equal elements the later one comes first
    by: Statistics | None = None  # of floats x: the elements are its values, as in `Rows`

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        if self.k < 1:
            raise ValueError(f"no row has {self.k} first elements")
        if self.by is not None and self.element().kind != FLOAT:
            raise ValueError("statistics are of floats")


def reference(inputs: Mapping[str, Array], case: TopK) -> dict[str, Array]:
    """In numpy, by a stable sort; what is no number comes first."""
    known, sizes = case.known(inputs), case.numbers()
    x = np.broadcast_to(evaluate(case.element(), known), sizes)
    x = x if case.by is None else case.by.of(case, x, known)
    seen = x[..., ::-1] if case.later else x
    order = np.lexsort((-seen if case.largest else seen, ~np.isnan(seen)), axis=-1)
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
)
KERNEL = Kernel(
    name="topk",
    source="topk.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=row_grid,
    knobs={"WORKERS": (0,)},
)
FAMILY = Family(
    name="topk",
    case=TopK,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=(
        TopK(axes=(512, 64), x="a0[64*i0 + i1]", k=8, inputs=floats(1 << 15)),
        TopK(axes=(1, 151936), x="a0[i1]", k=1, inputs=floats(151936)),
    ),
    kernels=(KERNEL,),
)
