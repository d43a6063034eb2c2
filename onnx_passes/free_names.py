"""No value and no dimension of the model bears a name that the compiler gives its own."""

import onnx_ir as ir

from onnx_passes.ir.edit import unique_name
from onnx_passes.ir.graph import COUNTED, GraphError
from onnx_passes.ir.rules import Outcome


def free_names(model: ir.Model) -> Outcome:
    """Rename values, and the symbols of inputs' dimensions; count both.

    Raises GraphError for an input of such a name: who feeds the model calls it by that.
    """
    for value in model.graph.inputs:
        if value.name in COUNTED:
            raise GraphError(
                f"the model has an input named {value.name!r}",
                f"{', '.join(COUNTED)} are inputs that the compiler adds",
                "export it with another name for this input",
            )
    return Outcome(_rename_values(model) + _rename_dims(model))


def _rename_values(model: ir.Model) -> int:
    outputs = (output for node in model.graph.all_nodes() for output in node.outputs)
    taken = [output for output in outputs if output.name in COUNTED]
    for output in taken:
        output.name = unique_name(model.graph, f"{output.name}.of_model")
    return len(taken)


def _rename_dims(model: ir.Model) -> int:
    """Names that are safe to compute with: an exporter's may be any text, and mean nothing here."""
    count = 0
    for index, value in enumerate(model.graph.inputs):
        dims = list(value.shape or ())
        names = [d if isinstance(d, int) else f"in{index}_{i}" for i, d in enumerate(dims)]
        if value.shape is not None:
            value.shape = ir.Shape(names)
        count += sum(not isinstance(d, int) for d in dims)
    return count
