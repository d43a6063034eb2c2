"""Run a piece of the graph on chosen inputs, to recognise it by what it computes instead of by its spelling.

Uses ONNX's reference evaluator (numpy), on request in float64: rotary tables are computed that way.
"""

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_passes.graph import Miss
from onnx_passes.roles import Roles

LARGE = 1 << 24  # elements: a piece that needs more is no mask and no table


class Subgraph:
    """The ancestors of a few values, ready to be run for any sequence and past length."""

    def __init__(self, model: ir.Model, values: Iterable[ir.Value], roles: Roles, double: bool = False) -> None:
        """Extract what computes `values` from graph inputs; `double` turns float32 into float64 throughout."""
        self.roles, self.inputs = roles, [v for v in model.graph.inputs if not v.is_initializer()]
        wanted = list(values)
        self.used = [v for v in self.inputs if v in _ancestors(wanted)]
        piece = ir.convenience.extract(model.graph, inputs=self.used, outputs=wanted)
        ours = next((n for n in piece if n.domain not in ("", "ai.onnx")), None)
        if ours is not None:
            raise Miss(f"it is computed by {ours.op_type}")
        large = next((v for v in piece.initializers.values() if _size(v) > LARGE), None)
        if large is not None:
            raise Miss(f"it needs the large tensor {large.name}")
        piece.opset_imports.update(model.opset_imports)
        built = ir.to_proto(ir.Model(piece, ir_version=10))
        self.evaluator = ReferenceEvaluator(_in_double(built) if double else built)

    def run(self, seq: int, past: int, padding: int = 0) -> list[np.ndarray]:
        """The values for `seq` new tokens after `past`, the first `padding` of all being padding on the left."""
        return list(self.evaluator.run(None, {v.name: self._feed(v, seq, past, padding) for v in self.used}))

    def _feed(self, value: ir.Value, seq: int, past: int, padding: int) -> np.ndarray:
        at = {"seq": seq, "past": past, "rows": seq}
        shape = [d if isinstance(d, int) else int(d.evaluate(at)) for d in value.shape or ()]
        dtype = np.dtype(np.int64) if value.dtype is None else value.dtype.numpy()
        if value.name == self.roles.mask:
            mask = (np.arange(past + seq) >= padding).astype(dtype)
            return np.broadcast_to(mask, shape).copy()
        if value.name == self.roles.positions:
            positions = np.maximum(np.arange(past, past + seq) - padding, 0).astype(dtype)
            return np.broadcast_to(positions, shape).copy()
        return np.full(shape, {"past": past, "start": padding}.get(value.name or "", 0), dtype)


def _ancestors(values: Iterable[ir.Value]) -> set[ir.Value]:
    """Everything that `values` are computed from, themselves included."""
    found: set[ir.Value] = set()
    front = list(values)
    while front:
        value = front.pop()
        node = value.producer()
        if value not in found and node is not None:
            front += [v for v in node.inputs if v is not None]
        found.add(value)
    return found


def _size(value: ir.Value) -> int:
    return 0 if value.const_value is None else value.const_value.size


def _in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    wide, narrow = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT
    for tensor in model.graph.initializer:
        _widen(tensor)
    for node in model.graph.node:
        for attr in node.attribute:
            if attr.type == onnx.AttributeProto.TENSOR:
                _widen(attr.t)
            elif node.op_type == "Cast" and attr.name == "to" and attr.i == narrow:
                attr.i = wide
    return model


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == onnx.TensorProto.FLOAT:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
