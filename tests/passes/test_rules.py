"""The driver of rules: what it looks at, counts and reports; and where passes are."""

import onnx_ir as ir
import pytest
from pass_helpers import missed, text

from onnx_passes import PASSES, Pass
from onnx_passes.cancel_transposes import cancel_transposes
from onnx_passes.fold_constants import fold_constants
from onnx_passes.fuse_bias import fuse_bias
from onnx_passes.fuse_glu import fuse_glu
from onnx_passes.ir.edit import replace
from onnx_passes.ir.graph import needed
from onnx_passes.ir.rules import Done, Loss, Miss, Missed, Outcome, Rules, apply

CHAIN = """<ir_version: 10, opset_import: ["": 20, "other": 1]>
before (float[4] x) => (float[4] y) { a = Neg(x)  b = other.Neg(a)  c = Abs(b)  d = Neg(c)
  e = Exp(d)  y = Neg(e) }"""


def _drop(_: ir.Model, node: ir.Node) -> bool:
    if node.outputs[0].is_graph_output():
        raise Miss("an output is made by it")
    replace(node, needed(node, 0))
    return True


def _drop_with_reader(model: ir.Model, node: ir.Node) -> Done:
    (reader,) = [use.node for use in node.outputs[0].uses()]
    replace(reader, node.outputs[0])
    return Loss(f"{reader.op_type} is gone")


def test_rules_are_tried_in_order_at_nodes_of_their_op_and_domain() -> None:
    model = text(CHAIN)
    outcome = apply(model, {("", "Neg"): _drop})
    assert outcome == Outcome(2, (Missed("Neg", "y", "an output is made by it"),))
    assert str(outcome.misses[0]) == "Neg y: an output is made by it"
    assert [node.op_type for node in model.graph] == ["Neg", "Abs", "Exp", "Neg"]


def test_what_a_rewrite_gave_up_is_reported_and_counted() -> None:
    model = text(CHAIN)
    outcome = apply(model, {("", "Abs"): _drop_with_reader})
    assert outcome == Outcome(1, (Missed("Abs", "c", "Neg is gone"),))


def test_a_node_that_is_gone_is_passed_over() -> None:
    rules: Rules = {("", "Abs"): _drop_with_reader, ("", "Neg"): lambda *_: True}
    assert apply(text(CHAIN), rules).rewrites == 3  # the Neg after Abs is not among them


STRANGE = """<ir_version: 10, opset_import: ["": 20, "other": 1]>
before (float[B, S, 16] x) => (float[B, S, N] y) <float[16, 24] w, float[16, 24] u, float[24] b>
{ %s }"""


@pytest.mark.parametrize(
    ("run_pass", "body"),
    [
        (fuse_bias, "m = other.MatMul(x, w)  y = Add(m, b)"),
        (fuse_glu, "g = MatMul(x, w)  p = MatMul(x, u)  a = Relu(g)  y = other.Mul(a, p)"),
        (cancel_transposes, "a = Transpose<perm = [1, 0, 2]>(x)"
         "  b = other.Transpose<perm = [1, 0, 2]>(a)  y = Neg(b)"),
        (fold_constants, "a = other.Identity(x)  c = other.Cast<to = 1>(a)  y = Neg(c)"),
    ],
)  # fmt: skip
def test_an_op_of_a_stranger_is_no_op_of_onnx(run_pass: Pass, body: str) -> None:
    """It may compute something else, whatever it is called."""
    assert missed(run_pass, text(STRANGE % body)) == (0, [])


@pytest.mark.parametrize("run_pass", PASSES, ids=lambda run_pass: run_pass.__name__)
def test_a_pass_is_a_file_of_its_name(run_pass: Pass) -> None:
    assert run_pass.__module__ == f"onnx_passes.{run_pass.__name__}"
    assert run_pass.__doc__
