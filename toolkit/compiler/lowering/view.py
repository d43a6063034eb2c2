"""Ops that move no data: their output is another view of the same bytes."""

from dataclasses import replace

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.lowering import Lowering


def lower_reshape(b: PhaseBuilder, node: ir.Node) -> None:
    """The same bytes in another shape."""
    b.locations[node.outputs[0]] = b.location(node.inputs[0])


def lower_last_rows(b: PhaseBuilder, node: ir.Node) -> None:
    """Mark the location: norms that read it map their rows to the last ones."""
    b.locations[node.outputs[0]] = replace(b.location(node.inputs[0]), last_rows=True)


def check_last_rows(node: ir.Node, _: str) -> str | None:
    """Only norms map rows."""
    readers = {use.node.op_type for use in node.outputs[0].uses()} - {"RmsNorm", "AddRmsNorm"}
    return f"{min(readers)} reads the last rows; only a norm may" if readers else None


VIEWS = (
    Lowering("", "Reshape", lower_reshape),
    Lowering(DOMAIN, "LastRows", lower_last_rows, check_last_rows),
)
