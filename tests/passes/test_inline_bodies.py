"""What has no kernel is written out as its body, again and again; what has one stays."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from pass_helpers import op_types, same_outputs, text

from onnx_passes.inline_bodies import inline_bodies
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.infer import infer

HEAD = '<ir_version: 10, opset_import: ["": %d, "pocket": 1]> before '
SIMPLE = (
    "Constant",
    "CastLike",
    "Pow",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Max",
    "Min",
    "Exp",
    "Erf",
    "Tanh",
    "Where",
    "Less",
    "Clip",
)


def model_of(source: str, opset: int = 18, known: tuple[str, ...] = SIMPLE) -> ir.Model:
    model = text(HEAD % opset + source)
    Facts(computes=lambda node: node.op_type in known).note(model)
    infer(model)
    return model


@pytest.mark.parametrize(
    "opset, source",
    [
        (18, "(float[S, 3] x) => (float y) { y = HardSwish(x) }"),
        (18, "(float[S, 3] x) => (float y) { y = Selu(x) }"),
        (18, "(float[S, 3] x) => (float y) { y = Elu<alpha = 0.3>(x) }"),
        (18, "(float[S, 3] x) => (float y) <float[3] s> { y = PRelu(x, s) }"),
        (20, "(float[S, 3] x) => (float y) { y = Gelu(x) }"),
        (24, '(float[S, 3] x) => (float y) { y = Gelu<approximate = "tanh">(x) }'),
    ],
)
def test_computes_the_same_with_simple_ops(opset: int, source: str) -> None:
    model = model_of(source, opset)
    with same_outputs(model, S=7):
        assert inline_bodies(model).rewrites >= 1
    assert set(op_types(model)) <= set(SIMPLE)
    assert not model.functions and set(model.opset_imports) <= {"", "pocket"}


def test_a_body_inside_a_body() -> None:
    """HardSwish is made of HardSigmoid, which is made of Max, Min, Mul and Add."""
    model = model_of("(float[S] x) => (float y) { y = HardSwish(x) }")
    assert inline_bodies(model).rewrites == 2


def test_what_has_a_kernel_stays() -> None:
    model = model_of("(float[S] x) => (float y) { y = HardSwish(x) }", known=("HardSwish",))
    assert inline_bodies(model).rewrites == 0 and op_types(model) == ["HardSwish"]


def test_an_op_of_ours_becomes_its_body() -> None:
    source = """(float[2, S, 7] x, float[7, 5] w, float[5] b) => (float y)
      { y = pocket.Linear(x, w, b) }"""
    model = model_of(source, known=("MatMul", "Add"))
    with same_outputs(model, S=3):
        assert inline_bodies(model).rewrites == 1
    assert op_types(model) == ["MatMul", "Add"]


def test_two_of_one_op_have_values_of_their_own() -> None:
    model = model_of("(float[S] x) => (float y) { t = Celu<alpha = 0.5>(x) y = Celu(t) }")
    with same_outputs(model, S=7):
        assert inline_bodies(model).rewrites >= 2
    names = [output.name for node in model.graph for output in node.outputs]
    assert len(set(names)) == len(names)


def test_an_op_without_a_body_stays() -> None:
    model = model_of("(float[1, 2, 8] x) => (float y) { y = GlobalAveragePool(x) }")
    assert inline_bodies(model).rewrites == 0
