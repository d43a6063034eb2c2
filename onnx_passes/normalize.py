"""What every pass may rely on: no function calls, opset 18 or later, nodes that fit their schemas,
weights that are tensors of floats (some of them in codes, see `onnx_passes.weights.quantized`).

Called by the first pass, before it looks at anything.
"""

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveInitializersFromInputsPass
from onnxscript.version_converter import ConvertVersionPass

from onnx_passes.ir.check_nodes import check_nodes
from onnx_passes.ir.edit import drop_unused, drop_unused_inputs, unique_name
from onnx_passes.ir.graph import RESERVED, GraphError, InvalidModel
from onnx_passes.ir.ops import OPSET
from onnx_passes.read_coded_weights import read_coded_weights


def normalize(model: ir.Model) -> None:
    """Inline functions, raise the opset, check nodes, read codes, drop what nothing reads."""
    RemoveInitializersFromInputsPass()(model)  # old exporters list every weight as an input
    _sort(model)
    _inline(model)
    check_nodes(model)
    _raise_opset(model)
    read_coded_weights(model)
    drop_unused(model)
    drop_unused_inputs(model)
    _free_names(model)
    _forget_dims(model)
    _forget_domains(model)


def _inline(model: ir.Model) -> None:
    try:
        InlinePass()(model)
    except (ir.passes.PassError, ValueError) as error:
        raise GraphError(
            "the model's functions cannot be inlined",
            str(error.__cause__ or error),
            "export without model-local functions",
        ) from error


def _sort(model: ir.Model) -> None:
    """Every value is computed before it is read."""
    try:
        for part in (model.graph, *(f.graph for f in model.functions.values())):
            part.sort()
    except ValueError as error:
        raise InvalidModel(
            "the model's graph has a cycle",
            "a value is computed from itself",
            "export it again, or mend what edited it",
        ) from error


def _raise_opset(model: ir.Model) -> None:
    version = model.opset_imports.setdefault("", OPSET)
    if version >= OPSET:
        return
    ConvertVersionPass(OPSET, fallback=True)(model)
    if model.opset_imports[""] < OPSET:
        raise GraphError(
            f"the model is written in opset {version}",
            f"it could not be converted to opset {OPSET}",
            f"export it again with opset {OPSET} or later",
        )


def _free_names(model: ir.Model) -> None:
    """No value of the model bears the name of an input that we add."""
    for value in model.graph.inputs:
        if value.name in RESERVED:
            raise GraphError(
                f"the model has an input named {value.name!r}",
                f"{', '.join(RESERVED)} are inputs that the compiler adds",
                "export it with another name for this input",
            )
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if output.name in RESERVED:
                output.name = unique_name(model.graph, f"{output.name}.of_model")


def _forget_dims(model: ir.Model) -> None:
    """The exporter's symbols get names that are safe to compute with; which ones is no matter."""
    for index, value in enumerate(model.graph.inputs):
        if value.shape is not None:
            dims = enumerate(value.shape)
            value.shape = ir.Shape([d if isinstance(d, int) else f"in{index}_{i}" for i, d in dims])


def _forget_domains(model: ir.Model) -> None:
    """ONNX Runtime's optimizer imports every domain that it knows, with or without nodes of it."""
    used = {node.domain for node in model.graph.all_nodes()}
    for domain in set(model.opset_imports) - used - {""}:
        del model.opset_imports[domain]
