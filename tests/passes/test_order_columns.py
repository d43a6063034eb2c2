"""Gates and ups of experts that alternate become halves."""

import onnx_ir as ir
import pytest
from expert_graphs import TOGETHER
from pass_helpers import missed, op_types, same_outputs, text

from onnx_passes.ir.edit import drop_unused
from onnx_passes.ir.infer import infer
from onnx_passes.order_columns import order_columns
from onnx_passes.sum_experts import sum_experts


def summed(source: str) -> ir.Model:
    model = text(source)
    infer(model)
    assert sum_experts(model).rewrites == 1
    drop_unused(model)
    infer(model)
    return model


@pytest.mark.parametrize("biased", [False, True])
def test_every_other_column_is_a_half(biased: bool) -> None:
    source = TOGETHER if biased else TOGETHER.replace("Add (both, first_bias)", "Identity (both)")
    source = source.replace("Slice (biased", "Slice (both") if not biased else source
    model = summed(source)
    with same_outputs(model, S=5):
        assert order_columns(model).rewrites == 1
    left = op_types(model)
    assert "Slice" not in left and left.count("Split") == 1 and left.count("Experts") == 2


DIRECT = """<ir_version: 10, opset_import: ["": 20, "pocket": 1]>
g (float[S, 1, 5] x, int64[S, 3] indices) => ({outputs})
<float[5, 32] w, int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}},
 int64[1] far = {{99}}, int64[1] last = {{-1}}>
{{ p = pocket.Experts <experts = 4> (x, w, indices)
  even = Slice (p, zero, far, last, two)  odd = Slice (p, {odd})  {more} }}"""
CHANGES = {
    "none": ("even, odd", "one, far, last, two", "", None),
    "a reader of all columns": (
        "even, odd, y",
        "one, far, last, two",
        "y = Neg (p)",
        "another way",
    ),
    "even columns twice": ("even, odd", "zero, far, last, two", "", "another way"),
    "other choices": ("even, odd", "one, far, one, two", "", "another way"),
    "an output of all columns": ("even, odd, p", "one, far, last, two", "", "an output"),
}


@pytest.mark.parametrize(("outputs", "odd", "more", "reason"), CHANGES.values(), ids=CHANGES)
def test_other_readers_leave_columns_as_they_are(
    outputs: str, odd: str, more: str, reason: str | None
) -> None:
    source = DIRECT.format(outputs=outputs, odd=odd, more=more)
    rewrites, misses = missed(order_columns, text(source))
    assert rewrites == (reason is None)
    assert all(reason is not None and reason in miss for miss in misses)
    assert bool(misses) == (reason is not None)
