"""What depends on counters alone: on where tokens stand, not on what they are."""

from collections.abc import Iterator

import onnx_ir as ir

from onnx_passes.analysis.subgraph import READS_SHAPES, counts
from onnx_passes.ir.graph import COUNTED, is_constant


def counted(model: ir.Model) -> set[ir.Value]:
    """Every value that follows from counters, from the sizes of others, and from constants."""
    known = {value for value in model.graph.inputs if value.name in COUNTED}
    for node in model.graph:
        if all(x is None or x in known or is_constant(x) for x in _read(node)):
            known.update(node.outputs)
    return known


def last_counted(model: ir.Model) -> Iterator[ir.Value]:
    """Of these, each that a node reads which reads others too, in order."""
    known = counted(model)
    for node in list(model.graph):
        for value in node.outputs:
            readers = [use.node for use in value.uses()]
            if value in known and any(reader.outputs[0] not in known for reader in readers):
                yield value


def _read(node: ir.Node) -> list[ir.Value | None]:
    """The inputs of which more is read than the shape."""
    if node.op_type in READS_SHAPES:
        return []
    return list(node.inputs[1:] if counts(node) else node.inputs)
