"""What the matrix products share: case, arguments, defines and the numpy reference (matmul.clh)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opencl_kernels.case import Defines, Size, c_float
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, nbytes, storage_defines
from opencl_kernels.layouts import F32, LAYOUTS, Stored, times_stored, weight_arguments
from opencl_kernels.map.expression import operations
from opencl_kernels.map.indexed import Reading
from opencl_kernels.matmul import epilogue
from opencl_kernels.matmul.glu import Glu


@dataclass(frozen=True)
class Norm:
    """A norm at the beginning of a product: an RMSNorm, or where it is centred a LayerNorm."""

    eps: float
    centred: bool = False  # the mean is subtracted first
    beta: bool = False  # a vector is added

    def __call__(self, x_MK: Array, gamma_K: Array, beta_K: Array | float) -> Array:
        """In numpy."""
        if self.centred:
            x_MK = x_MK - np.mean(x_MK, axis=-1, keepdims=True)
        mean_M1 = np.mean(x_MK * x_MK, axis=-1, keepdims=True)
        return np.asarray(x_MK / np.sqrt(mean_M1 + self.eps) * gamma_K + beta_K)


@dataclass(frozen=True, kw_only=True)
class Product(Reading):
    """y[M, N] = norm(x[M, K]) W[N, K]^T + bias + r, a gated unit of it, or an epilogue.

    With `sum_eps` the product first makes sum = stream + RMSNorm(x), and takes that for x.
    """

    M: Size
    N: int
    K: int
    x: str = "f32"
    y: str = "f32"
    w: Stored = F32
    sum_eps: float | None = None  # of the RMSNorm of x that is added to a residual stream
    norm: Norm | None = None
    normed_as: str = ""  # the type that holds all of what the norm makes; "": that of x
    keeps_norm: bool = False  # what the norm makes of x becomes normed, for other readers
    bias: bool = False
    residual: bool = False  # r, of y's shape, is added
    glu: Glu | None = None
    LDX: int = 0  # elements from one row of x to the next; 0: K
    X0: int = 0  # of each row of x, the first element that is read
    LDY: int = 0  # of y, which may be wider than the product; 0: its columns
    Y0: int = 0  # the product's first column in y
    epilogue: str = ""  # what is stored: an expression over v and a0 … (epilogue.py); "": v

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        epilogue.read(self)
        if self.residual and (self.epilogue or self.glu):
            raise ValueError("a residual is part of the epilogue")
        if self.keeps_norm and self.norm is None:
            raise ValueError("there is no norm to keep")
        if self.X0 and self.X0 + self.K > self.LDX:
            raise ValueError("rows of x are too short")

    @property
    def normed(self) -> bool:
        """Whether the product begins with a norm."""
        return self.norm is not None or self.sum_eps is not None

    @property
    def columns(self) -> int:
        """Columns that one launch writes."""
        return self.N if self.glu is None else self.glu.F

    @property
    def row_width(self) -> int:
        """LDY."""
        return self.LDY or self.columns


def reference(inputs: Mapping[str, Array], case: Product) -> dict[str, Array]:
    """The product at columns Y0 on; the rest of y stays."""
    x_MK = inputs["x"][:, case.X0 : case.X0 + case.K].astype(np.float64)
    outputs = dict[str, Array]()
    if case.sum_eps is not None:
        x_MK = inputs["stream"] + Norm(case.sum_eps)(x_MK, inputs["stream_gamma"], 0.0)
        outputs["sum"] = x_MK
    if case.norm:
        x_MK = case.norm(x_MK, inputs["gamma"], inputs.get("beta", 0.0))
        outputs |= {"normed": x_MK} if case.keeps_norm else {}
    y_MN = times_stored(x_MK, inputs, case.w, case.N, case.K) + inputs.get("bias", np.zeros(1))
    sums = case.glu.halves(y_MN) if case.glu else (y_MN,)
    wide = inputs.get("y", np.zeros((len(x_MK), case.row_width))).astype(np.float64)
    written = slice(case.Y0, case.Y0 + case.columns)
    rest = inputs["r"][:, written] if "r" in inputs else 0.0
    each = (part[:, : case.columns] for part in sums)
    wide[:, written] = epilogue.ended(case, inputs, *each) + rest
    return {**outputs, "y": wide}


def arguments(case: Product) -> tuple[Argument, ...]:
    """In the order of matmul.clh; y keeps its other columns where it is wider."""
    wide = (case.M, case.row_width)
    role: Any = "inout" if case.row_width != case.columns else "out"
    return (
        Argument("x", case.x, (case.M, case.LDX or case.K), "in"),
        *(_of_sum(case) if case.sum_eps is not None else ()),
        *([Argument("gamma", "f32", (case.K,), "weight")] if case.norm else []),
        *([Argument("beta", "f32", (case.K,), "weight")] if case.norm and case.norm.beta else []),
        *([Argument("normed", case.x, (case.M, case.K), "out")] if case.keeps_norm else []),
        *weight_arguments(case.w, case.N, case.K),
        *([Argument("bias", "f32", (case.N,), "weight")] if case.bias else []),
        *([Argument("r", case.x, wide, "in")] if case.residual else []),
        *case.arguments(),
        Argument("y", case.y, wide, role),
    )


def _of_sum(case: Product) -> tuple[Argument, ...]:
    return (
        Argument("stream", case.x, (case.M, case.K), "in"),
        Argument("stream_gamma", "f32", (case.K,), "weight"),
        Argument("sum", case.x, (case.M, case.K), "out"),
    )


def without_norm(case: Product) -> str | None:
    """Why a kernel of many rows does not compute a case."""
    return "it has no norm before the product" if case.normed else None


def defines(case: Product) -> Defines:
    """Sizes, strides and options of one product."""
    return {
        **storage_defines(case, "x", "y"),
        **LAYOUTS[case.w.layout].defines(case.w),
        "N": case.N,
        "K": case.K,
        "LDX": case.LDX or case.K,
        **({"X0": case.X0} if case.X0 else {}),
        "LDY": case.row_width,
        "Y0": case.Y0,
        "BIAS": int(case.bias),
        "RESIDUAL": int(case.residual),
        **({"SUMMED": 1, "SUM_EPS": c_float(case.sum_eps)} if case.sum_eps is not None else {}),
        "NORM": 0 if case.norm is None else 1 + case.norm.centred,
        **({"BETA": 1} if case.norm and case.norm.beta else {}),
        "EPS": c_float(case.norm.eps if case.norm else 0),
        **({"KEPT": 1} if case.keeps_norm else {}),
        "GLU": int(case.glu is not None),
        "ACT": case.glu.act if case.glu else 0,
        "F": case.glu.F if case.glu else 0,
        **epilogue.defines(case),
    }


def work(case: Any) -> tuple[int, int]:
    """Every buffer once; a multiplication and an addition per weight and row; the epilogue."""
    ending = operations(epilogue.read(case)) * case.M * case.columns
    return nbytes(arguments(case)), 2 * case.M * case.N * case.K + ending
