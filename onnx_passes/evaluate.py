"""Run a piece of the graph on chosen inputs, to recognise it by what it computes.

Uses ONNX's reference evaluator (numpy), on request in float64: rotary tables are computed that way.
"""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnx_passes.graph import Miss
from onnx_passes.normalize import RESERVED
from onnx_passes.roles import Roles, roles_of

LARGE = 1 << 24  # elements: a piece that needs more is no mask and no table
_READ_SHAPES = ("Shape", "Size")  # ops that read nothing of a tensor but its shape


class Subgraph:
    """The ancestors of a few values, ready to be run for any sequence and past length."""

    def __init__(self, model: ir.Model, values: Iterable[ir.Value], double: bool = False) -> None:
        """Extract what computes `values` from graph inputs; `double` widens float32 throughout."""
        self.roles, wanted = roles_of(model), list(values)
        _refuse_data(wanted, self.roles)
        reached = _ancestors(wanted)
        self.used = [v for v in model.graph.inputs if v in reached and not v.is_initializer()]
        piece = _extract(model, self.used, wanted)
        if double:
            _widen(piece)
        built = ir.to_proto(ir.Model(piece, ir_version=10))
        try:
            self.evaluator = ReferenceEvaluator(built)
        except Exception as error:  # anything: the evaluator meets ops that it does not know
            raise Miss(f"it cannot be evaluated: {error}") from error

    def run(self, seq: int, past: int, padding: int = 0) -> list[np.ndarray]:
        """The values for `seq` new tokens after `past`; the first `padding` of all are padding."""
        feeds = {v.name or "": self._feed(v, seq, past, padding) for v in self.used}
        try:
            found = self.evaluator.run(None, feeds)
        except Exception as error:  # anything: the piece may be valid only for other sizes
            raise Miss(f"evaluating it for seq={seq}, past={past} fails: {error}") from error
        return [np.asarray(value) for value in found]

    def _feed(self, value: ir.Value, seq: int, past: int, padding: int) -> np.ndarray:
        at = {"seq": seq, "past": past, "rows": seq}
        shape = [d if isinstance(d, int) else int(str(d.evaluate(at))) for d in value.shape or ()]
        numbers = np.array({"past": past, "start": padding}.get(value.name or "", 0))
        if value.name == self.roles.mask:
            numbers = np.arange(past + seq) >= padding
        if value.name == self.roles.positions:
            numbers = np.maximum(np.arange(past, past + seq) - padding, 0)
        dtype = ir.DataType.INT64 if value.dtype is None else value.dtype
        return np.broadcast_to(numbers.astype(dtype.numpy()), shape).copy()


def _extract(model: ir.Model, inputs: list[ir.Value], outputs: list[ir.Value]) -> ir.Graph:
    try:
        piece = ir.convenience.extract(model.graph, inputs=inputs, outputs=outputs)
    except ValueError as error:
        raise Miss(f"it cannot be cut out of the graph: {error}") from error
    ours = next((n for n in piece.all_nodes() if n.domain not in ("", "ai.onnx")), None)
    if ours is not None:
        raise Miss(f"it is computed by {ours.op_type}")
    sizes = {
        v: 0 if v.const_value is None else v.const_value.size for v in piece.initializers.values()
    }
    large = next((v for v, size in sizes.items() if size > LARGE), None)
    if large is not None:
        raise Miss(f"it needs the large tensor {large.name}")
    piece.opset_imports.update(model.opset_imports)
    return piece


def _ancestors(values: Iterable[ir.Value], stop: tuple[str, ...] = ()) -> set[ir.Value]:
    """Everything that `values` are computed from, themselves included; not beyond ops of `stop`."""
    found: set[ir.Value] = set()
    front = list(values)
    while front:
        value = front.pop()
        if value in found:
            continue
        found.add(value)
        node = value.producer()
        if node is not None and node.op_type not in stop:
            front += [v for v in node.inputs if v is not None]
            front += [
                v for g in _bodies(node) for n in g.all_nodes() for v in n.inputs if v is not None
            ]
    return found


def _bodies(node: ir.Node) -> list[ir.Graph]:
    attributes = node.attributes.values()
    return [a.as_graph() for a in attributes if a.type == ir.AttributeType.GRAPH]


def _refuse_data(values: list[ir.Value], roles: Roles) -> None:
    """Tokens and caches are fed with zeros: only their shapes may matter."""
    known = {roles.mask, roles.positions, *RESERVED}
    for value in _ancestors(values, _READ_SHAPES):
        if value.is_graph_input() and value.name not in known and not value.is_initializer():
            raise Miss(f"it depends on what is in {value.name}")


def _widen(piece: ir.Graph) -> None:
    """float32 becomes float64: in constants, and in what values are cast to."""
    wide, narrow = ir.DataType.DOUBLE, ir.DataType.FLOAT
    for value in piece.initializers.values():
        if value.const_value is not None and value.const_value.dtype == narrow:
            value.const_value = ir.tensor(
                value.const_value.numpy().astype(np.float64), name=value.name
            )
            value.dtype = wide
    for node in piece.all_nodes():
        for name, attr in list(node.attributes.items()):
            if attr.type == ir.AttributeType.TENSOR and attr.as_tensor().dtype == narrow:
                array = attr.as_tensor().numpy().astype(np.float64)
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(array))
            elif node.op_type == "Cast" and name == "to" and attr.as_int() == narrow:
                node.attributes[name] = ir.AttrInt64(name, int(wide))
