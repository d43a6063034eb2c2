"""A call of a function that the model brings along  ->  its body."""

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnx_passes.ir.graph import GraphError
from onnx_passes.ir.rules import Outcome


def inline_functions(model: ir.Model) -> Outcome:
    """Inline every function; count the calls in the graph.

    Raises GraphError where functions call each other in a circle, or what they need is missing.
    """
    calls = sum(node.op_identifier() in model.functions for node in model.graph.all_nodes())
    try:
        InlinePass()(model)
    except (ir.passes.PassError, ValueError) as error:
        raise GraphError(
            "the model's functions cannot be inlined",
            str(error.__cause__ or error),
            "export without model-local functions",
        ) from error
    return Outcome(calls)
