"""A graph in half precision, all or parts of it, is written in float32; its weights stay narrow.

Kernels compute in float and a plan chooses how values are stored, so that the exporter's casts
mean nothing to it, be they around norms or at the borders, where converters keep float32 inputs
and outputs. Weights become lazy float32 tensors that know the type they came in. Called before
roles are looked for.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import replace
from onnx_passes.ir.graph import attribute, operand
from onnx_passes.ir.infer import infer
from onnx_passes.ir.rules import Outcome
from onnx_passes.weights.lazy import Cast
from onnx_passes.weights.quantized import QuantizedTensor

NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
WIDE = ir.DataType.FLOAT


def widen_floats(model: ir.Model) -> Outcome:
    """Give every float16 and bfloat16 value the type float32, and drop the casts between floats.

    Counts the values and the nodes that name such a type.
    """
    narrow = [value for value in _values(model.graph) if value.dtype in NARROW]
    nodes = list(model.graph.all_nodes())
    rewrites = len(narrow) + sum(_names_narrow(node) for node in nodes)
    if not rewrites:
        return Outcome(0)
    for value in narrow:
        value.dtype = WIDE
        if value.const_value is not None:
            value.const_value = _widened(value.const_value)
    for node in nodes:
        _widen_attributes(node)
    infer(model)  # types of what nodes make, as exporters need not declare them
    for node in nodes:
        if node.op_type == "Cast" and _is_idle(node):
            replace(node, operand(node, 0))
    return Outcome(rewrites)


def _values(graph: ir.Graph) -> list[ir.Value]:
    """Every value of a graph and of those inside."""
    found: list[ir.Value] = []
    for part in (graph, *graph.subgraphs()):
        found += [*part.inputs, *part.initializers.values()]
        found += [output for node in part for output in node.outputs]
    return found


def _names_narrow(node: ir.Node) -> bool:
    return any(_narrow_tensor(a) or _narrow_type(a) for a in node.attributes.values())


def _narrow_tensor(attr: ir.Attr) -> bool:
    return attr.type == ir.AttributeType.TENSOR and attr.value.dtype in NARROW


def _narrow_type(attr: ir.Attr) -> bool:
    return attr.name in ("to", "dtype", "softmax_precision") and attr.value in NARROW


def _widen_attributes(node: ir.Node) -> None:
    for name, attr in list(node.attributes.items()):
        if _narrow_tensor(attr):
            node.attributes[name] = ir.AttrTensor(name, _widened(attr.as_tensor()))
        elif _narrow_type(attr):
            node.attributes[name] = ir.AttrInt64(name, int(WIDE))


def _widened(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    name = tensor.name or ""
    if isinstance(tensor, QuantizedTensor):
        return tensor.cast(WIDE, name)
    if len(tensor.shape) == 2:
        return Cast(tensor, WIDE, name)

    def evaluate() -> ir.TensorProtocol:
        return ir.tensor(tensor.numpy().astype(np.float32))

    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(evaluate, dtype=WIDE, shape=shape, name=name)


def _is_idle(node: ir.Node) -> bool:
    """A Cast from float32 to itself."""
    source = operand(node, 0)
    return source is not None and source.dtype == attribute(node, "to") == WIDE
