"""After every pass each value has the shape that inferring afresh gives, whatever is left out."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import DEMO, read, text

import onnx_passes
from onnx_passes.analysis.roles import has_roles
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.infer import infer


def shapes(model: ir.Model) -> dict[str | None, tuple[str, str]]:
    return {
        value.name: (str(value.shape), str(value.dtype))
        for node in model.graph
        for value in node.outputs
    }


def afresh(model: ir.Model) -> dict[str | None, tuple[str, str]]:
    for node in model.graph.all_nodes():
        node.meta.clear()
    infer(model)
    return shapes(model)


def test_shapes_are_those_that_inferring_gives() -> None:
    model = read(DEMO)
    for name, _ in onnx_passes.rewrite(model):
        if not has_roles(model):  # the exporter's dimensions mean nothing
            continue
        before = shapes(model)
        infer(model)
        assert shapes(model) == before, name
        assert afresh(model) == before, name


def no_type(model: ir.Model) -> None:
    model.graph.node("cast").attributes["to"] = ir.AttrInt64("to", ir.DataType.DOUBLE)


def other_axes(model: ir.Model) -> None:
    model.graph.node("turn").attributes["perm"] = ir.AttrInt64s("perm", [1, 0, 2])


def other_input(model: ir.Model) -> None:
    model.graph.node("sum").replace_input_with(1, model.graph.inputs[1])


def larger_input(model: ir.Model) -> None:
    model.graph.inputs[0].shape = ir.Shape([2, 3, 8])


def other_constant(model: ir.Model) -> None:
    model.graph.initializers["sizes"].const_value = ir.tensor(np.array([0, -1, 2]))


def written_over(model: ir.Model) -> None:
    model.graph.node("turn").outputs[0].shape = ir.Shape([9])


def other_op(model: ir.Model) -> None:
    model.graph.node("sum").op_type = "Concat"
    model.graph.node("sum").attributes["axis"] = ir.AttrInt64("axis", 2)


def inserted(model: ir.Model) -> None:
    cut, sum_ = ir.node("Shape", [model.graph.inputs[0]]), model.graph.node("sum")
    model.graph.insert_before(sum_, cut)
    grown = ir.node("Expand", [model.graph.inputs[1], cut.outputs[0]])
    model.graph.insert_before(sum_, grown)
    sum_.replace_input_with(1, grown.outputs[0])


CHANGES = (
    *(no_type, other_axes, other_input, larger_input),
    *(other_constant, written_over, other_op, inserted),
)


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_inferred_holds_no_longer_than_what_it_came_from(
    change: Callable[[ir.Model], None],
) -> None:
    model = text("""<ir_version: 10, opset_import: ["": 18]>
    g (float[2, 3, 4] x, float[2, 3, 1] z) => (float[9] y, double[9] w)
    <int64[3] sizes = {0, 2, -1}> {
      turned = Transpose <perm = [0, 2, 1]> (x)
      added = Add (x, x)
      shaped = Reshape (added, sizes)
      y = Exp (shaped)
      w = Cast <to = 11> (turned)
    }""")
    for node, name in zip(model.graph, ("turn", "sum", "shape", "exp", "cast"), strict=True):
        node.name = name
    infer(model)
    change(model)
    infer(model)
    found = shapes(model)
    assert found == afresh(model)


def test_a_longer_context_is_a_change() -> None:
    model = read(DEMO)
    Facts(context=64).note(model)
    for _ in onnx_passes.rewrite(model):
        pass
    Facts(context=32).note(model)
    infer(model)
    assert shapes(model) == afresh(model)
