"""What a node's shapes were inferred from: where that is the same still, they hold on.

A pass changes few nodes, and inferring all of them again after each was a third of a compile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import onnx_shape_inference as osi

from onnx_passes.ir.dims import Dim
from onnx_passes.ir.shapes.rule_context import CONTEXT

_KEY = "pocket_inferred"
Known = tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Inferred:
    """All that the rule of a node read, and what it said."""

    objects: tuple[object, ...]  # that must be the same ones: attributes, inputs, their constants
    facts: Known  # that must be equal: the op, and what is known of each input
    outputs: Known  # the same of the outputs: a pass may have written something else there
    elements: tuple[list[Dim] | None, ...]  # of outputs that are shapes of something

    @classmethod
    def of(cls, node: ir.Node, version: int, context: Any) -> Inferred:
        """After the rule has run."""
        elements = (context._symbolic_values.get(output) for output in node.outputs)
        return cls(_read(node), _facts(node, version), _known(node.outputs), tuple(elements))

    def holds(self, node: ir.Node, version: int) -> bool:
        """Whether the rule would say the same again."""
        read = _read(node)
        return (
            len(read) == len(self.objects)
            and all(a is b for a, b in zip(read, self.objects, strict=True))
            and self.facts == _facts(node, version)
            and self.outputs == _known(node.outputs)
        )


def hold(node: ir.Node, context: Any) -> bool:
    """Whether what was inferred of the node holds; later rules then find its elements."""
    found: Inferred | None = node.meta.get(_KEY)
    if found is None or not found.holds(node, context.get_opset_version(node.domain)):
        return False
    for output, elements in zip(node.outputs, found.elements, strict=True):
        if elements is not None:
            context.set_symbolic_value(output, elements)
    return True


def note(node: ir.Node, context: Any) -> None:
    """Keep what was inferred of the node, unless it means nothing the next time.

    Names that the inference makes up belong to one run; a subgraph reads more than the inputs.
    """
    known = [*_known(node.outputs), *_known(node.inputs)]
    graphs = any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values())
    if graphs or any("_d" in str(fact) for each in known for fact in each):
        node.meta.pop(_KEY, None)
    else:
        node.meta[_KEY] = Inferred.of(node, context.get_opset_version(node.domain), context)


def _read(node: ir.Node) -> tuple[object, ...]:
    constants = (None if value is None else value.const_value for value in node.inputs)
    return (*node.attributes.values(), *node.inputs, *constants)


def _facts(node: ir.Node, version: int) -> Known:
    op = node.domain, node.op_type, node.overload, version, CONTEXT.get()
    return (op, *_known(node.inputs))


def _known(values: Iterable[ir.Value | None]) -> Known:
    """Of each value its dimensions, type and elements."""
    return tuple(
        (
            None if value.shape is None else value.shape.dims,
            value.type,
            value.metadata_props.get(osi.SYM_DATA_KEY),
        )
        for value in values
        if value is not None
    )
