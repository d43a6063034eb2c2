"""Initializers are constants: exporters of old models list every weight as an input, too."""

import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from onnx_passes.ir.rules import Outcome


def drop_constant_inputs(model: ir.Model) -> Outcome:
    """Remove inputs that have a value; another one cannot be fed after that."""
    before = len(model.graph.inputs)
    RemoveInitializersFromInputsPass()(model)
    return Outcome(before - len(model.graph.inputs))
