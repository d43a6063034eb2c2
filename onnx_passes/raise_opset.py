"""Models of older opsets are converted to opset 18, which rules are written for."""

import onnx_ir as ir
from onnxscript.version_converter import ConvertVersionPass

from onnx_passes.ir.graph import GraphError
from onnx_passes.ir.ops import OPSET
from onnx_passes.ir.rules import Outcome


def raise_opset(model: ir.Model) -> Outcome:
    """Convert an older model; one of a later opset stays as it is.

    Raises GraphError where the converter does not know how.
    """
    version = model.opset_imports.setdefault("", OPSET)
    if version >= OPSET:
        return Outcome(0)
    ConvertVersionPass(OPSET, fallback=True)(model)
    if model.opset_imports[""] < OPSET:
        raise GraphError(
            f"the model is written in opset {version}",
            f"it could not be converted to opset {OPSET}",
            f"export it again with opset {OPSET} or later",
        )
    return Outcome(1)
