"""Max, Min, Sum and Mean of any number of operands become ops of two."""

import pytest
from pass_helpers import op_types, same_outputs, text

from onnx_passes.split_variadic import split_variadic

HEAD = """<ir_version: 10, opset_import: ["": 20]>
before (float[B, 6] a, float[B, 6] b, float[1, 6] c, float[B, 1] d) => (float[B, 6] y) { %s }"""


@pytest.mark.parametrize("op", ("Max", "Min", "Sum", "Mean"))
@pytest.mark.parametrize("operands", ("a", "a, b, c", "a, b, c, d, a, b, c, d, a, b"))
def test_any_number_of_operands_counts(op: str, operands: str) -> None:
    model = text(HEAD % f"y = {op}({operands})")
    with same_outputs(model, B=3):
        assert split_variadic(model).rewrites == 1
    assert all(len(node.inputs) <= 2 for node in model.graph)


@pytest.mark.parametrize(("op", "left"), [("Max", ["Max"]), ("Min", ["Min"]), ("Sum", ["Add"])])
def test_two_operands_need_no_more(op: str, left: list[str]) -> None:
    model = text(HEAD % f"y = {op}(a, b)")
    with same_outputs(model, B=3):
        assert split_variadic(model).rewrites == (op == "Sum")
    assert op_types(model) == left
