"""After every pass each value has the shape that inferring gives, whether it rewrote anything."""

import onnx_ir as ir
from pass_helpers import DEMO, read

import onnx_passes
from onnx_passes.analysis.roles import has_roles
from onnx_passes.ir.infer import infer


def shapes(model: ir.Model) -> dict[str | None, tuple[str, str]]:
    return {
        value.name: (str(value.shape), str(value.dtype))
        for node in model.graph
        for value in node.outputs
    }


def test_shapes_are_those_that_inferring_gives() -> None:
    model = read(DEMO)
    for name, _ in onnx_passes.rewrite(model):
        if not has_roles(model):  # the exporter's dimensions mean nothing
            continue
        before = shapes(model)
        infer(model)
        assert shapes(model) == before, name
