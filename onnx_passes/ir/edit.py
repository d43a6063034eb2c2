"""Small tools for editing an `onnx_ir` graph: new nodes and constants, replacement, removal."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass


class Builder:
    """Inserts nodes before `anchor`; new values take over the anchor's name as a prefix."""

    def __init__(self, anchor: ir.Node) -> None:
        """Nodes go right before `anchor`, in the graph that holds it."""
        graph = anchor.graph
        assert isinstance(graph, ir.Graph)
        self.graph, self.anchor = graph, anchor
        self.prefix = anchor.outputs[0].name or anchor.op_type

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        domain: str = "",
        overload: str = "",
        **attributes: Any,
    ) -> ir.Value:
        """One node with one output."""
        return self.ops(op_type, 1, *inputs, domain=domain, overload=overload, **attributes)[0]

    def ops(
        self,
        op_type: str,
        count: int,
        *inputs: ir.Value | None,
        domain: str = "",
        overload: str = "",
        **attributes: Any,
    ) -> Sequence[ir.Value]:
        """One node with `count` outputs."""
        node = ir.node(
            op_type, inputs, attributes, domain=domain, overload=overload, num_outputs=count
        )
        for output in node.outputs:
            output.name = unique_name(self.graph, f"{self.prefix}/{op_type}")
        node.name = node.outputs[0].name
        self.graph.insert_before(self.anchor, node)
        return node.outputs

    def constant(self, array: np.ndarray, name: str | None = None) -> ir.Value:
        """An initializer."""
        return add_constant(self.graph, array, name or f"{self.prefix}/const")

    def target(self, *dims: int) -> ir.Value:
        """The constant operand of a Reshape."""
        return self.constant(np.array(dims, np.int64), f"{self.prefix}/shape")


def add_constant(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    """Register `array` as an initializer under a name that is still free."""
    return add_tensor(graph, ir.tensor(array, name=unique_name(graph, name)))


def add_tensor(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    """Register a named tensor, lazy ones too, as an initializer."""
    value = ir.val(tensor.name, dtype=tensor.dtype, shape=tensor.shape.numpy(), const_value=tensor)
    graph.register_initializer(value)
    return value


def unique_name(graph: ir.Graph, stem: str) -> str:
    """`stem`, or `stem.N` with the first N that no value of the graph bears yet."""
    taken: set[str | None] | None = graph.meta.get("pocket_names")
    if taken is None:
        outputs = {output.name for node in graph.all_nodes() for output in node.outputs}
        taken = outputs | set(graph.initializers) | {value.name for value in graph.inputs}
        graph.meta["pocket_names"] = taken
    name = next(n for i in itertools.count() if (n := f"{stem}.{i}" if i else stem) not in taken)
    taken.add(name)
    return name


def forget_names(graph: ir.Graph) -> None:
    """Let `unique_name` look again: something else has added values to the graph."""
    graph.meta.pop("pocket_names", None)


def replace(node: ir.Node, *values: ir.Value | None) -> None:
    """Let `values` stand in for the node's outputs (graph outputs too), and drop the node."""
    for old, new in zip(node.outputs, values, strict=False):
        if new is not None:
            _stand_in(node, old, new)
    graph = node.graph
    assert graph is not None
    if all(not output.uses() and not output.is_graph_output() for output in node.outputs):
        graph.remove(node, safe=True)


def _stand_in(node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    if old.is_graph_output():  # outputs keep their names
        if new.is_graph_input() or new.is_initializer() or new.is_graph_output():
            new = Builder(node).op("Identity", new)
        old.name, new.name = f"{old.name}/old", old.name
    if new.type is None:
        new.type = old.type
    if new.shape is None:
        new.shape = old.shape
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def drop_unused(model: ir.Model) -> None:
    """Remove nodes and initializers that nothing reads any more."""
    RemoveUnusedNodesPass()(model)


def drop_unused_inputs(model: ir.Model, keep: tuple[str, ...] = ()) -> None:
    """Remove graph inputs that nothing reads, those named in `keep` excepted."""
    for value in list(model.graph.inputs):
        if not value.uses() and not value.is_graph_output() and value.name not in keep:
            model.graph.inputs.remove(value)
