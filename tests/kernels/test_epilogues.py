"""Epilogues of products: expressions of every kind, a column at a time and 16 at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from launches import check_launch

from opencl_kernels import KERNELS, family_of
from opencl_kernels.case import At
from opencl_kernels.layouts import quantized
from opencl_kernels.map.expression import parsed
from opencl_kernels.map.indexed import Operand
from opencl_kernels.map.lanes import in_c16, step
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.tuned import default_knobs

COLUMNS = 53  # blocks of 16, a lone one, and a tail
INPUTS = (
    *(Operand("f32", COLUMNS * 3), Operand("f16", COLUMNS), Operand("f32", 3)),
    *(Operand("i32", COLUMNS), Operand("u8", 3), Operand("f16", COLUMNS * 3)),
)
ROW = f"a0[{COLUMNS}*i0 + i1]"
AT_ONCE = {
    "arithmetic": f"(v - {ROW}) * 0.5 / (1.5 + Abs(a1[i1 + 0])) + a2[i0]",
    "functions": "Exp(Min(v, 2.0)) + Sigmoid(v) + Relu(v) + Max(v, -1.0) + Sign(v) + Sqrt(Abs(v))",
    "choice": "Where(v > 0.25, v * v, Neg(v)) + Where(a4[i0], v, 0.0)",
    "logic": "Where(Or(v > 0.5, Not(v >= -0.5)), 1.0, v) + Where(i0 < 1, a2[i0], v)",
    "shared": f"Tanh(v + {ROW}) * Tanh(v + {ROW}) + Where(v + {ROW} > 0.0, 1.0, 2.0)",
    "an index of two": f"v * {ROW} + a5[{COLUMNS}*i0 + i1]",
    "nothing of the sum": "a2[i0] + Float(past)",
    "integers of a row": "v * Float(i0 + seq) + Float(start[0])",
}
IN_TURN = {
    "another order": f"v + a0[{COLUMNS}*i0 + {COLUMNS - 1} - i1]",
    "every other column": "v + a1[i1 // 2]",
    "by column": "Where(i1 < 20, v, v * Float(i1))",
    "integers": "v * Float(a3[i1])",
    "guarded reading": "Where(v > 0.0, a1[i1], v)",
    "computed index": "v + a1[Within(a3[i1], 53)]",
}
NAMES = ("gemv", "gemv_cpu", "gemv_quantized_cpu", "gemm", "gemm_tiled", "gemm_cpu")


def on_each() -> Iterator[Any]:
    """Every other pair is slow, so that each kernel has kinds and each kind has kernels."""
    for number, (kind, name) in enumerate(product((*AT_ONCE, *IN_TURN), NAMES)):
        marks = (pytest.mark.slow,) if number % 2 else ()
        yield pytest.param(kind, name, id=f"{kind}-{name}", marks=marks)


@pytest.mark.parametrize(("kind", "name"), list(on_each()))
def test_epilogues_equal_numpy(queue: Any, kind: str, name: str) -> None:
    text = {**AT_ONCE, **IN_TURN}[kind]
    gated = kind in ("arithmetic", "by column")
    rows = 3 if "gemm" in name else 1
    case = Product(
        M=rows,
        N=128 if gated else COLUMNS,
        K=37,
        w=quantized("q8", 16, "f32") if "quantized" in name else Product(M=1, N=1, K=1).w,
        bias=kind != "choice",
        glu=Glu(COLUMNS) if gated else None,
        epilogue=text.replace("v", "(v + u)", 1) if gated else text,
        inputs=INPUTS,
        at=At(seq=rows, past=4, start=(2,)),
    )
    kernel = KERNELS[name]
    knobs = default_knobs(kernel, kernel.classes[0])
    check_launch(queue, family_of(name), kernel, case, knobs)


@pytest.mark.parametrize("kind", [*AT_ONCE, *IN_TURN])
def test_what_is_computed_at_once(kind: str) -> None:
    dtypes = tuple(each.dtype for each in INPUTS)
    node = parsed({**AT_ONCE, **IN_TURN}[kind], dtypes, ("v",))
    assert (in_c16(node, "i1", ("v",)) is not None) == (kind in AT_ONCE)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        *(("i1", 1), ("31*i0 + i1 + 5", 1), ("i0 - 3", 0), ("i0 - i1", -1), ("i1 + i1", 2)),
        *(("2*i1", None), ("i1 // 3", None), ("i0 // 3 + i1", 1), ("7*(seq % 3)", 0)),
    ],
)
def test_steps_of_an_index(index: str, expected: int | None) -> None:
    assert step(parsed(index, ()), "i1") == expected


@pytest.mark.parametrize(
    "damage",
    [
        *({"epilogue": "v > 0.0"}, {"epilogue": "u"}, {"epilogue": "v + a0[0]"}),
        *({"epilogue": "v + Float(i2)"}, {"epilogue": "v", "residual": True}),
        {"residual": True, "glu": Glu(1)},
    ],
)
def test_what_is_no_epilogue_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Product(M=1, N=32, K=1, **damage)
