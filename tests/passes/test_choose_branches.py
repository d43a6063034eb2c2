"""Of a merged decoder's two branches the one for a cached text is compiled, and serves both."""

import numpy as np
import onnx_ir as ir
import pytest
from merged_decoder import FLAG, merged
from pass_helpers import missed, noted, run, text
from tiny_decoder import feeds, tiny

import onnx_passes
from onnx_passes.choose_branches import choose_branches, noted_flag


def chosen(model: ir.Model) -> ir.Model:
    assert choose_branches(model).rewrites == 1
    return model


@pytest.mark.parametrize("past, seq", [(0, 5), (3, 1), (2, 4)])
def test_says_the_same_as_the_branch(past: int, seq: int) -> None:
    random = np.random.default_rng(seq)
    cache = random.standard_normal((1, 2, past, 8)).astype(np.float32)
    given = {**feeds(seq, past), "cache_k": cache, "cache_v": cache}
    before = run(merged(), {**given, FLAG: np.array([past > 0])})
    model = chosen(merged())
    for expected, actual in zip(
        before, run(model, {**given, FLAG: np.array([False])}), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_reaches_the_form_of_a_decoder_of_one_graph() -> None:
    forms = []
    for model in (tiny(), noted(merged(), context=32, chunk=8)):
        for _ in onnx_passes.rewrite(model):
            pass
        assert FLAG not in {value.name for value in model.graph.inputs}
        forms.append([node.op_type for node in model.graph])
    assert forms[0] == forms[1]


def test_the_flag_is_noted() -> None:
    assert noted_flag(chosen(merged())) == FLAG
    assert noted_flag(tiny()) is None


BRANCHES = """<ir_version: 10, opset_import: ["": 18]>
before (float[3] x, float[3] y, bool flag) => (float[3] z) <float[3] w>
{ z = If(flag) <then_branch = t () => (float[3] a) { %s },
                else_branch = e () => (float[3] b) { %s }> }"""


def test_weights_of_a_branch_come_along() -> None:
    model = text(BRANCHES % ("xy = Add(x, y)  a = Mul(xy, w)", "b = Neg(x)"))
    values = [np.random.default_rng(i).standard_normal(3).astype(np.float32) for i in range(2)]
    branch = model.graph[0].attributes["then_branch"].as_graph()
    branch.register_initializer(model.graph.initializers.pop("w"))
    given = {"x": values[0], "y": values[1], "flag": np.array(True)}
    (expected,) = run(model, given)
    (actual,) = run(chosen(model), {**given, "flag": np.array(False)})
    np.testing.assert_array_equal(actual, expected)
    assert [node.op_type for node in model.graph] == ["Add", "Mul"]


def test_an_input_may_pass_through() -> None:
    model = text(BRANCHES % ("a = Identity(x)", "xy = Add(x, y)  b = Mul(xy, w)"))
    assert [node.op_type for node in chosen(model).graph] == ["Add", "Mul"]


def test_a_flag_between_branches_that_read_the_same_is_left_alone() -> None:
    count, reasons = missed(choose_branches, text(BRANCHES % ("a = Neg(x)", "b = Abs(x)")))
    assert count == 0 and "flag is no flag of a cache" in reasons[0]
    computed = BRANCHES.replace("z = If(flag)", "all = Not(flag)  z = If(all)")
    assert missed(choose_branches, text(computed % ("a = Neg(x)", "b = Add(x, y)"))) == (0, [])
