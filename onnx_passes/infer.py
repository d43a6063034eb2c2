"""Shape inference: `onnx-shape-inference` with what it lacks, behind one function."""

import warnings

import onnx_ir as ir
import onnx_shape_inference as osi

from onnx_passes.graph import GraphError
from onnx_passes.shape_rules import register_rules
from onnx_passes.shapes import Dim


def infer(model: ir.Model) -> None:
    """Give every value its shape and type, from the inputs alone; no declared shape is trusted."""
    register_rules()
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None
            output.metadata_props.pop(osi.SYM_DATA_KEY, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _infer(model)
    for node in model.graph:
        for output in node.outputs:
            if output.shape is not None:
                output.shape = ir.Shape([_number(dim) for dim in output.shape])


def _infer(model: ir.Model) -> None:
    try:
        osi.infer_symbolic_shapes(model, warn_on_missing=False, adopt_declared_symbols=False)
    except (osi.ShapeInferenceError, osi.OpUsageError) as error:
        raise GraphError(
            "the model's shapes do not fit together",
            str(error).split("\n")[0],
            "check the file with onnx.checker, or export it again",
        ) from error


def _number(dim: Dim) -> Dim:
    """An int for a symbolic dimension that is one (the inference leaves some as text)."""
    text = None if isinstance(dim, int) else dim.value
    return int(text) if text is not None and text.isdecimal() else dim
