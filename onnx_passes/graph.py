"""Small tools for reading and editing an `onnx_ir` graph: constants, producers, insertion, and reasons for misses."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

DOMAIN = "pocket"  # the op domain of everything that we invent

_misses: list[str] | None = None


class Miss(Exception):
    """A pattern began to match and then did not; the message says why."""


@contextlib.contextmanager
def explaining() -> Iterator[list[str]]:
    """Collect the reasons of every near miss while the block runs."""
    global _misses
    _misses = []
    try:
        yield _misses
    finally:
        _misses = None


def explain(node: ir.Node, reason: object) -> None:
    """Note why a pattern that began at `node` did not match."""
    if _misses is not None:
        _misses.append(f"{node.op_type} {node.name or node.outputs[0].name}: {reason}")


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array behind an initializer or a Constant node, or None."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is known at compile time, without reading it."""
    if value is None:
        return False
    if value.const_value is not None:
        return True
    node = value.producer()
    return node is not None and node.op_type == "Constant"


def scalar(value: ir.Value | None) -> float | None:
    """The number behind a constant of one element, or None."""
    array = constant(value)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes `value` if its op type is among `op_types` (all, if none is given)."""
    node = None if value is None else value.producer()
    return node if node is not None and (not op_types or node.op_type in op_types) else None


def through(value: ir.Value | None, *op_types: str) -> ir.Value | None:
    """Walk from `value` up through nodes of the given types (their first input)."""
    while (node := producer(value, *op_types)) is not None:
        value = node.inputs[0]
    return value


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The Python value of an attribute, or the default."""
    attr = node.attributes.get(name)
    if attr is None:
        return default
    return list(attr.value) if isinstance(attr.value, tuple) else attr.value


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index`, or None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def needed(node: ir.Node, index: int) -> ir.Value:
    """Input `index` of a node whose schema makes it mandatory."""
    value = operand(node, index)
    if value is None:
        raise Miss(f"input {index} is missing")
    return value


def other(node: ir.Node, value: ir.Value) -> ir.Value:
    """The other operand of a binary node."""
    return needed(node, 1 if node.inputs[0] is value else 0)


def sole_use(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one node that reads `value`, if there is exactly one, of one of the given types."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    return node if not op_types or node.op_type in op_types else None


class Builder:
    """Inserts nodes before `anchor`; new values take over the anchor's name as a prefix."""

    def __init__(self, anchor: ir.Node) -> None:
        """Nodes go right before `anchor`, in the graph that holds it."""
        graph = anchor.graph
        assert isinstance(graph, ir.Graph)
        self.graph, self.anchor = graph, anchor
        self.prefix = anchor.outputs[0].name or anchor.op_type

    def op(
        self, op_type: str, *inputs: ir.Value | None, domain: str = "", overload: str = "", **attributes: Any
    ) -> ir.Value:
        """One node with one output."""
        return self.ops(op_type, 1, *inputs, domain=domain, overload=overload, **attributes)[0]

    def ops(
        self, op_type: str, count: int, *inputs: ir.Value | None, domain: str = "", overload: str = "", **attributes: Any
    ) -> Sequence[ir.Value]:
        """One node with `count` outputs."""
        node = ir.node(op_type, inputs, attributes, domain=domain, overload=overload, num_outputs=count)
        for output in node.outputs:
            output.name = unique_name(self.graph, f"{self.prefix}/{op_type}")
        node.name = node.outputs[0].name
        self.graph.insert_before(self.anchor, node)
        return node.outputs

    def constant(self, array: np.ndarray, name: str | None = None) -> ir.Value:
        """An initializer."""
        return add_constant(self.graph, array, name or f"{self.prefix}/const")


def add_constant(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    """Register `array` as an initializer under a name that is still free."""
    value = ir.val(unique_name(graph, name), const_value=ir.tensor(array))
    value.const_value.name = value.name  # type: ignore[union-attr]
    value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)
    graph.register_initializer(value)
    return value


def unique_name(graph: ir.Graph, stem: str) -> str:
    """`stem`, or `stem.N` with the first N that no value of the graph bears yet."""
    taken: set[str | None] | None = graph.meta.get("pocket_names")
    if taken is None:
        outputs = {output.name for node in graph for output in node.outputs}
        taken = outputs | set(graph.initializers) | {value.name for value in graph.inputs}
        graph.meta["pocket_names"] = taken
    name = next(n for i in itertools.count() if (n := f"{stem}.{i}" if i else stem) not in taken)
    taken.add(name)
    return name


def replace(node: ir.Node, *values: ir.Value | None) -> None:
    """Let `values` stand in for the node's outputs (graph outputs too), and drop the node."""
    for old, new in zip(node.outputs, values, strict=False):
        if new is None:
            continue
        if old.is_graph_output() and not new.is_graph_input() and not new.is_initializer():
            old.name, new.name = f"{old.name}/old", old.name
        if new.type is None:
            new.type = old.type
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph = node.graph
    assert graph is not None
    if all(not list(output.uses()) and not output.is_graph_output() for output in node.outputs):
        graph.remove(node, safe=True)


def drop_unused(model: ir.Model) -> None:
    """Remove nodes and initializers that nothing reads any more."""
    RemoveUnusedNodesPass()(model)
