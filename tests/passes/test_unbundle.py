"""Gemm, Einsum and ReduceLogSumExp as MatMul and simpler ops."""

from __future__ import annotations

import numpy as np
import pytest
from pass_helpers import missed, op_types, same_outputs, text

from onnx_passes.ir.infer import infer
from onnx_passes.unbundle import unbundle

HEAD = '<ir_version: 10, opset_import: ["": 18]> before '
CASES = {
    "gemm": ("(float[S, 5] x) => (float y) <float[5, 3] w> { y = Gemm(x, w) }", ["MatMul"]),
    "bias": (
        "(float[S, 5] x) => (float y) <float[5, 3] w, float[3] c> { y = Gemm(x, w, c) }",
        ["MatMul", "Add"],
    ),
    "all of it": (
        "(float[5, S] x) => (float y) <float[3, 5] w, float[3] c> { y = Gemm<alpha = 0.5, "
        "beta = 2.0, transA = 1, transB = 1>(x, w, c) }",
        ["Transpose", "Transpose", "MatMul", "Mul", "Mul", "Add"],
    ),
    "scores": (
        "(float[B, S, 5] x, float[B, T, 5] z) => (float y) "
        '{ y = Einsum<equation = "bid,bjd->bij">(x, z) }',
        ["Transpose", "MatMul"],
    ),
    "heads": (
        "(float[B, S, 3, 5] x, float[B, T, 3, 5] z) => (float y) "
        '{ y = Einsum<equation = "bihd, bjhd -> bhij">(x, z) }',
        ["Transpose", "Transpose", "MatMul"],
    ),
    "turned": (
        '(float[3, 5] x, float[5, S] z) => (float y) { y = Einsum<equation = "ik,kj->ji">(x, z) }',
        ["MatMul", "Transpose"],
    ),
    "two summed": (
        "(float[S, 3, 5] x) => (float y) <float[3, 5, 4] w> "
        '{ y = Einsum<equation = "bhd,hde->be">(x, w) }',
        ["Reshape", "Reshape", "MatMul"],
    ),
    "none summed": (
        '(float[S] x, float[7] z) => (float y) { y = Einsum<equation = "i,j->ij">(x, z) }',
        None,
    ),
    "log sum exp": (
        "(float[3, S] x) => (float y) <int64[1] a = {-1}> { y = ReduceLogSumExp(x, a) }",
        None,
    ),
    "log sum exp of all": (
        "(float[3, S] x) => (float y) { y = ReduceLogSumExp<keepdims = 0>(x) }",
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_computes_the_same(case: str) -> None:
    source, expected = CASES[case]
    model = text(HEAD + source)
    infer(model)
    with same_outputs(model, B=2, S=7, T=3, tolerance=2e-5):
        assert unbundle(model).rewrites == 1
    assert expected is None or op_types(model) == expected


def test_a_sum_of_zeros_is_no_nan() -> None:
    model = text(HEAD + "(float[2, S] x) => (float y) { y = ReduceLogSumExp(x) }")
    infer(model)
    with same_outputs(model, {"x": np.full((2, 3), -np.inf, np.float32)}, S=3):
        assert unbundle(model).rewrites == 1


@pytest.mark.parametrize(
    "source, reason",
    [
        ('(float[S, S] x) => (float y) { y = Einsum<equation = "ii->i">(x) }', "two tensors"),
        ('(float[S, 3] x) => (float y) { y = Einsum<equation = "ij,jj->i">(x, x) }', "two axes"),
        ('(float[S, 3] x) => (float y) { y = Einsum<equation = "ij,kl->ik">(x, x) }', "alone"),
        ('(float[S, 3] x) => (float y) { y = Einsum<equation = "...j,jk->...k">(x, x) }', "two te"),
        ("(int64[S, 3] x, int64[3, 2] w) => (int64 y) { y = Gemm(x, w) }", "no floats"),
    ],
)
def test_leaves_alone_and_says_why(source: str, reason: str) -> None:
    count, reasons = missed(unbundle, text(HEAD + source))
    assert count == 0 and reason in reasons[0]
