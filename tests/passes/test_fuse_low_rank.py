"""Projections of one value, one of which a norm and another product follow, become one."""

import onnx_ir as ir
import pytest
from pass_helpers import missed, op_types, same_outputs, text

from onnx_passes.fuse_low_rank import fuse_low_rank
from onnx_passes.ir.infer import infer

LAYER = """<ir_version: 10, opset_import: ["": 23, "pocket": 1]>
layer (float[1, S, 24] x) => (%(outputs)s)
<float[24, 13] wq, float[24, 17] wk, float[24, 11] wd, float[13, 10] wqu, float[11, 10] wku,
 float[17] bk, float[13] gq, float[11] gk, int64[2] parts = {11, 6}, int64[4] heads = {0, 0, 2, 5},
 int64[1] i0 = {0}, int64[1] i2 = {2}, int64[1] i10 = {10}>
{ %(body)s }"""
NORM = "pocket.RmsNorm<eps = 0.01>"
QUERIES = f"q0 = MatMul(x, wq)  qn = {NORM}(q0, gq)  q = MatMul(qn, wqu)"
KEYS = f"""k0 = pocket.Linear(x, wk, bk)  lat, rest = Split<axis = -1>(k0, parts)
  kn = {NORM}(lat, gk)  k = MatMul(kn, wku)"""
BOTH = "float[1, S, 10] q, float[1, S, 10] k, float[1, S, 6] rest"


def layer(body: str, outputs: str = BOTH) -> ir.Model:
    model = text(LAYER % {"body": body, "outputs": outputs})
    infer(model)
    return model


@pytest.mark.parametrize(
    "queries",
    [QUERIES, "q0 = MatMul(x, wq)  q = Slice(q0, i0, i10, i2)"],
    ids=["of low rank", "direct"],
)
@pytest.mark.parametrize("rows", [1, 7])
def test_products_of_one_value_become_one(queries: str, rows: int) -> None:
    model = layer(f"{queries}  {KEYS}")
    before = op_types(model)
    with same_outputs(model, S=rows):
        outcome = fuse_low_rank(model)
    products = [op for op in op_types(model) if op in ("MatMul", "Linear")]
    assert outcome.rewrites == 1 and not outcome.misses
    assert len(products) == len([op for op in before if op in ("MatMul", "Linear")]) - 1


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (f"{QUERIES}  g0 = MatMul(x, wk)  g = Sigmoid(g0)", "float[1, S, 10] q, float[1, S, 17] g"),
        (f"{QUERIES}  g = MatMul(x, wk)", "float[1, S, 10] q, float[1, S, 17] g"),
        (f"q0 = MatMul(x, wq)  q = {NORM}(q0, gq)  {KEYS.replace('k = MatMul(kn, wku)', '')}"
         "  k = Neg(kn)", "float[1, S, 13] q, float[1, S, 11] k, float[1, S, 6] rest"),
    ],
    ids=["what follows may fuse", "an output", "no product behind the norm"],
)  # fmt: skip
def test_others_stay_apart(body: str, outputs: str) -> None:
    rewrites, _ = missed(fuse_low_rank, layer(body, outputs))
    assert rewrites == 0
