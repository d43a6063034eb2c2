"""Every value is computed before it is read; a cycle is refused."""

import onnx_ir as ir

from onnx_passes.ir.graph import InvalidModel
from onnx_passes.ir.rules import Outcome


def sort_nodes(model: ir.Model) -> Outcome:
    """Sort the graph and the model's functions; count the nodes of the graph that moved.

    Raises InvalidModel where a value is computed from itself.
    """
    before = list(model.graph)
    try:
        for part in (model.graph, *(f.graph for f in model.functions.values())):
            part.sort()
    except ValueError as error:
        raise InvalidModel(
            "the model's graph has a cycle",
            "a value is computed from itself",
            "export it again, or mend what edited it",
        ) from error
    return Outcome(sum(a is not b for a, b in zip(before, model.graph, strict=True)))
