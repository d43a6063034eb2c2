"""Products of two activations: matrices of a batch, each read by strides from where it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from opencl_kernels.case import At, Defines, c_expression, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, Grid, Kernel, Knobs, Requires, nbytes, worker_grid
from opencl_kernels.map.expression import evaluate, in_c, operations
from opencl_kernels.map.functions import INT
from opencl_kernels.map.indexed import PAST, SEQ, Indexed, Operand, coordinates, floats
from opencl_kernels.matmul import epilogue


@dataclass(frozen=True)
class Strided:
    """Matrices in an input: where each begins, and elements from one row or column to the next.

    Texts in the language of maps: `first` over the coordinates of the batch, strides over symbols.
    """

    input: int
    first: str
    row: str
    column: str

    @property
    def texts(self) -> tuple[str, str, str]:
        """All three."""
        return self.first, self.row, self.column


@dataclass(frozen=True, kw_only=True)
class BatchedProduct(Indexed):
    """y[.., m, n] = sum over k of left[.., m, k] * right[.., k, n], or an epilogue of it.

    axes  of the batch, then M, N and K
    """

    left: Strided
    right: Strided
    epilogue: str = ""  # over v, the row i0 of all rows of the batch, and the column i1

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        epilogue.read(self)
        if len(self.axes) < 3 or self.y not in ("f32", "f16"):
            raise ValueError("a product of matrices has three axes or more, and is of floats")
        for side in (self.left, self.right):
            if self.inputs[side.input].dtype not in ("f32", "f16"):
                raise ValueError("only floats are multiplied")
            if any(self.read(text).kind != INT for text in side.texts):
                raise ValueError("places of elements are whole numbers")

    # As epilogues know products: all columns are written, and they are no gated unit's.
    glu: ClassVar[None] = None
    Y0: ClassVar[int] = 0

    @property
    def batch(self) -> tuple[Any, ...]:
        """Sizes of the batch's axes."""
        return self.axes[:-3]

    def matrices(self, inputs: Mapping[str, Array], side: Strided, rows: int, columns: int) -> Any:
        """An operand as an array [batch.., rows, columns], in float64."""
        sizes, known = self.numbers()[:-3], self.known(inputs)
        first, row, column = (evaluate(self.read(text), known) for text in side.texts)
        begins = np.broadcast_to(first, (*sizes, *[1] * 3)).reshape(*sizes, 1, 1)
        at = begins + row * np.arange(rows)[:, None] + column * np.arange(columns)
        return inputs[f"a{side.input}"].astype(np.float64)[at]


def reference(inputs: Mapping[str, Array], case: BatchedProduct) -> dict[str, Array]:
    """In numpy."""
    *_, M, N, K = case.numbers()
    left, right = case.matrices(inputs, case.left, M, K), case.matrices(inputs, case.right, K, N)
    return {"y": epilogue.ended(case, inputs, (left @ right).reshape(-1, N)).reshape(-1)}


def _arguments(case: BatchedProduct) -> tuple[Argument, ...]:
    size = case.at_numbers(math.prod(case.axes[:-1]))
    return (*case.arguments(), Argument("y", case.y, (size,), "out"))


def _defines(case: BatchedProduct, knobs: Knobs) -> Defines:
    M, N, K = map(c_expression, case.axes[-3:])
    return {
        **case.operand_defines(),
        **epilogue.defines(case),
        **_side(case, "LEFT", case.left, ("M", "K")),
        **_side(case, "RIGHT", case.right, ("K", "N")),
        "BATCH": c_expression(math.prod(case.batch)),
        "COORDINATES": coordinates(case.batch) or ";",
        "Y_HALF": int(case.y == "f16"),
        **{"M": M, "N": N, "K": K},
        **{name: value for name, value in knobs.items() if name != "WORKERS"},
    }


def _side(case: BatchedProduct, name: str, side: Strided, axes: tuple[str, str]) -> Defines:
    """LEFT (its input), LEFT_FIRST, LEFT_M and LEFT_K, which is the stride of k, and so on."""
    first, *strides = (in_c(case.read(text), "").value for text in side.texts)
    return {
        name: f"p{side.input}",
        f"{name}_HALF": int(case.inputs[side.input].dtype == "f16"),
        f"{name}_FIRST": first,
        **{f"{name}_{axis}": stride for axis, stride in zip(axes, strides, strict=True)},
        f"{name}_ALONG": int(side.column == "1"),
    }


def _cpu_defines(case: BatchedProduct, knobs: Knobs) -> Defines:
    return {**_defines(case, knobs), **epilogue.cpu_defines(case)}


def _portable_grid(case: BatchedProduct, knobs: Knobs) -> Grid:
    *_, M, N, _ = (case.at_numbers(size) for size in case.axes)
    batch = case.at_numbers(math.prod(case.batch))
    return (8 * ceil_div(N, 32), 8 * ceil_div(M, 8 * knobs["MR"]), batch), (8, 8, 1)


def _portable_requires(_: BatchedProduct, knobs: Knobs) -> Requires:
    """A slice of 16 k of 8 * MR rows of the left side and of 32 columns of the right."""
    return Requires(local_bytes=4 * 16 * (8 * knobs["MR"] + 32))


def _work(case: BatchedProduct) -> tuple[int, int]:
    *outer, K = case.numbers()
    each = 2 * K + operations(epilogue.read(case))
    return nbytes(_arguments(case)), math.prod(outer) * each


def rows_of(first: str, row: str, input: int = 0) -> Strided:
    """Matrices whose rows lie in order."""
    return Strided(input, first, row, "1")


def columns_of(first: str, column: str, input: int = 1) -> Strided:
    """Matrices whose columns lie in order."""
    return Strided(input, first, "1", column)


CASES = (
    BatchedProduct(
        axes=(5, 7, 3), left=rows_of("0", "3"), right=rows_of("0", "7", 1), inputs=floats(15, 21)
    ),
    BatchedProduct(
        axes=(3, 17, 35, 65),
        left=rows_of("1105*i0", "65"),
        right=columns_of("2275*i0", "65"),
        inputs=floats(3315, 6825),
    ),
    BatchedProduct(  # a matrix times itself; a sum that is longer than a slice
        axes=(33, 33, 300),
        left=rows_of("0", "300"),
        right=columns_of("0", "300", 0),
        inputs=floats(9900),
        epilogue="Max(v, 0.0) + a0[i1]",
    ),
    BatchedProduct(  # halves; one operand is the same for all matrices, and lies by columns
        axes=(2, 3, 13, 20, 9),
        left=columns_of("0", "13", 0),
        right=rows_of("540*i0 + 180*i1", "20", 1),
        inputs=(Operand("f16", 117), Operand("f16", 1080)),
        y="f16",
    ),
    BatchedProduct(  # sums of nothing
        axes=(4, 5, 0),
        left=rows_of("0", "0"),
        right=rows_of("0", "5", 1),
        inputs=floats(1, 1, 5),
        epilogue="v + a2[i1]",
    ),
    BatchedProduct(  # scores of queries and keys, which are shared by heads
        axes=(6, SEQ, PAST + SEQ, 16),
        left=rows_of("16*i0", "96"),
        right=columns_of("640*(i0 // 3)", "16"),
        inputs=floats(96 * SEQ, 1280),
        epilogue="Where(i1 <= past + i0 % seq, v * 0.25, -65504.0)",
        at=At(seq=7, past=30),
    ),
    BatchedProduct(  # and what they weigh
        axes=(6, SEQ, 16, PAST + SEQ),
        left=rows_of("i0*seq*(past + seq)", "past + seq"),
        right=rows_of("640*(i0 // 3)", "16", 1),
        inputs=(Operand("f32", 6 * SEQ * (PAST + SEQ)), Operand("f16", 1280)),
        at=At(seq=13, past=20),
    ),
)
BENCH = tuple(
    BatchedProduct(
        axes=(batch, m, n, k),
        left=rows_of(f"{m * k}*i0", str(k)),
        right=right,
        inputs=floats(batch * m * k, batch * k * n),
    )
    for batch, m, n, k in ((8, 256, 256, 64), (1, 512, 512, 512), (12, 512, 64, 512))
    for right in (rows_of(f"{n * k}*i0", str(n), 1), columns_of(f"{n * k}*i0", str(k)))
)
ON_CPU = Kernel(
    name="batched_gemm_cpu",
    source="batched_gemm_cpu.cl",
    classes=("cpu",),
    defines=_cpu_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 3), "MR": (12, 6), "KC": (256, 32), "ROWS_OF_BLOCK": (192, 12)},
)
PORTABLE = Kernel(
    name="batched_gemm",
    source="batched_gemm.cl",
    classes=("generic",),
    defines=_defines,
    grid=_portable_grid,
    cuts=0,
    knobs={"MR": (4, 8)},
    requires=_portable_requires,
)
FAMILY = Family(
    name="batched_gemm",
    case=BatchedProduct,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=CASES,
    bench_cases=BENCH,
    kernels=(ON_CPU, PORTABLE),
)
