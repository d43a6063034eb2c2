"""Logits of the last rows only, an exporter's own choice of the last token undone."""

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import decoder, missed, op_types, run

from onnx_passes.fuse_residual_norm import fuse_residual_norm
from onnx_passes.fuse_rmsnorm import fuse_rmsnorm
from onnx_passes.last_rows import last_rows

HEAD = """<ir_version: 11, opset_import: ["": 23]>
before (float[1, S, 16] x, float[1, S, 16] r) => (float[1, L, 32] y)
<float[16] g, float[16, 32] w, int64[1] from = {-1}, int64[1] to = {9223372036854775807},
 int64[1] axis = {1}, int64 last = {-1}, float[1] cap = {3.0}> { %s }"""


def head(body: str) -> ir.Model:
    model = decoder(HEAD % body, S="seq", L="seq")
    missed(fuse_rmsnorm, model)
    missed(fuse_residual_norm, model)
    return model


@pytest.mark.parametrize(
    "body, ops",
    [
        ("n = RMSNormalization(x, g)  y = MatMul(n, w)", ["LastRows", "RmsNorm", "MatMul"]),
        ("t = Add(x, r)  n = RMSNormalization(t, g)  y = MatMul(n, w)",
         ["LastRows", "LastRows", "AddRmsNorm", "MatMul"]),
        ("n = RMSNormalization(x, g)  z = MatMul(n, w)  d = Div(z, cap)  t = Tanh(d)"
         "  y = Mul(t, cap)", ["LastRows", "RmsNorm", "MatMul", "Div", "Tanh", "Mul"]),
        ("n = Neg(x)  y = MatMul(n, w)", ["Neg", "LastRows", "MatMul"]),
        ("n = RMSNormalization(x, g)  s = Slice(n, from, to, axis)  y = MatMul(s, w)",
         ["LastRows", "RmsNorm", "MatMul"]),
        ("n = RMSNormalization(x, g)  s = Gather<axis = 1>(n, last)  u = Unsqueeze(s, axis)"
         "  y = MatMul(u, w)", ["LastRows", "RmsNorm", "MatMul"]),
        ("n = RMSNormalization(x, g)  s = Gather<axis = 1>(n, from)  y = MatMul(s, w)",
         ["LastRows", "RmsNorm", "MatMul"]),
    ],
)  # fmt: skip
def test_selects_rows_before_the_norm(body: str, ops: list[str]) -> None:
    given, model = head(body), head(body)
    assert missed(last_rows, model)[0] == 1
    assert op_types(model) == ops
    x = {n: np.random.default_rng(3).standard_normal((1, 7, 16)).astype("f") for n in ("x", "r")}
    counters = {"past": np.array([0]), "start": np.array([0])}
    (every,) = run(given, {**x, **counters, "rows": np.array([7])})
    for rows in (1, 3, 7):
        (some,) = run(model, {**x, **counters, "rows": np.array([rows])})
        assert some.shape == (1, rows, 32)
        overlap = min(rows, every.shape[1])
        np.testing.assert_allclose(some[:, -overlap:], every[:, -overlap:], rtol=1e-5, atol=1e-5)


def test_a_norm_that_others_read_stays_whole() -> None:
    body = "t = Add(x, r)  n = RMSNormalization(t, g)  z = MatMul(n, w)  e = ReduceSum(t)"
    model = head(f"{body}  y = Add(z, e)")
    count, reasons = missed(last_rows, model)
    assert count == 0 and "not a matmul with a constant weight" in reasons[0]


@pytest.mark.parametrize(
    "body", ("a = Neg(x)  t = Transpose<perm = [0, 2, 1]>(a)  y = MatMul(x, t)", "y = Neg(x)")
)
def test_logits_that_are_no_matmul(body: str) -> None:
    count, reasons = missed(last_rows, head(body))
    assert count == 0 and "not a matmul with a constant weight" in reasons[0]


@pytest.mark.parametrize(
    "op, call", [("Slice", "Slice(n, axis, to, axis)"), ("Gather", "Gather<axis = 1>(n, axis)")]
)
def test_another_choice_than_the_last_token_stays(op: str, call: str) -> None:
    model = head(f"n = RMSNormalization(x, g)  s = {call}  y = MatMul(s, w)")
    count, reasons = missed(last_rows, model)
    assert count == 0 and "not a row for each token" in reasons[0]
    assert op_types(model) == ["RmsNorm", op, "MatMul"]
