"""By which kernels products of activations are computed, and what they take over."""

from __future__ import annotations

import pytest
from small_graphs import SmallGraphs

from onnx_passes.inline_bodies import inline_bodies
from opencl_kernels.device_class import CLASSES

SQUARE = "(float[seq, 65] x, float[65, 33] z{more}) => (float y) "
KERNELS = {
    # many rows, whatever their number: tiles
    SQUARE.format(more="") + "{ y = MatMul(x, z) }": ["batched_gemm"],
    # strides lead through broadcasts and transposes
    "(float[19, 2, 1, seq] x, float[3, 35, 19] z) => (float y) "
    "{ a = Transpose<perm = [1, 2, 3, 0]>(x) c = Transpose<perm = [0, 2, 1]>(z) "
    "y = MatMul(a, c) }": ["batched_gemm"],
    # and through the parts of a tensor
    "(float[seq, 66] x, float[65, 33] z) => (float y) <int64[2] to = {33, 33}> "
    "{ a, c = Split<axis = 1>(x, to) t = Transpose(c) y = MatMul(a, t) }": ["batched_gemm"],
    # an operand is stored where it is computed, or lies in two places
    SQUARE.format(more=", float[seq, 65] w") + "{ a = Concat<axis = 0>(x, w) y = MatMul(a, z) }": [
        "map",
        "batched_gemm",
    ],
    # what follows is the product's end, whatever it reads beside it
    SQUARE.format(more=", float[seq, 33] r") + "{ p = MatMul(x, z) t = Tanh(p) y = Add(t, r) }": [
        "batched_gemm"
    ],
    # unless others read the product, or other elements of it
    SQUARE.format(more="").replace("float y", "float y, float p")
    + "{ p = MatMul(x, z) y = Tanh(p) }": [
        "batched_gemm",
        "map",
        "map",
    ],  # one moves p to its place
    "(float[33, 65] x, float[65, 33] z) => (float y) "
    "{ p = MatMul(x, z) t = Transpose(p) y = Add(p, t) }": ["batched_gemm", "map"],
    # few rows: sums one by one where columns lie in order
    "(float[2, 65] x, float[35, 65] z) => (float y) { t = Transpose(z) y = MatMul(x, t) }": [
        "reduce",
        "map",
    ],
}


def kernels_of(source: str, device_class: str) -> list[str]:
    small = SmallGraphs({"": source}, (inline_bodies,), device_class=CLASSES[device_class])
    assert not small.faults
    programs = list(small.programs.index)
    return [
        programs[step.variants[0].program].kernel.removesuffix("_cpu")
        for step in small.phases[0].dispatches()
    ]


@pytest.mark.parametrize("device_class", ["cpu", "generic"])
@pytest.mark.parametrize("source", KERNELS)
def test_which_kernels_compute_a_product(source: str, device_class: str) -> None:
    assert kernels_of(source, device_class) == KERNELS[source]


def test_few_rows_are_tiles_where_vectors_run_along_them() -> None:
    few = "(float[2, 65] x, float[65, 35] z) => (float y) { y = MatMul(x, z) }"
    found = [kernels_of(few, device_class) for device_class in ("cpu", "generic")]
    assert found == [["batched_gemm"], ["reduce", "map"]]
