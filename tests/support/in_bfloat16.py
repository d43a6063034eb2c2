"""A model in bfloat16, as exporters write one whose weights torch holds so."""

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def in_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights, inputs, outputs and casts, which were in float32."""
    graph = model.graph
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    for tensor in (*graph.initializer, *(a.t for a in attributes if a.HasField("t"))):
        if tensor.data_type == TensorProto.FLOAT:
            narrow = rounded(numpy_helper.to_array(tensor)).astype(ml_dtypes.bfloat16)
            data = narrow.view(np.uint16).tobytes()
            shape = narrow.shape
            tensor.CopyFrom(
                helper.make_tensor(tensor.name, TensorProto.BFLOAT16, shape, data, raw=True)
            )
    for attribute in attributes:
        if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.BFLOAT16
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    return model


def with_rounded_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same numbers in float32."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = rounded(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def rounded(array: np.ndarray) -> np.ndarray:
    """float32 that bfloat16 holds."""
    return array.astype(ml_dtypes.bfloat16).astype(np.float32)
