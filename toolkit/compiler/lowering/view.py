"""Ops that move nothing: the same bytes, seen otherwise."""

import onnx_ir as ir

from toolkit.compiler.lowering.builder import PhaseBuilder, Place, refusal


def lower_view(b: PhaseBuilder, node: ir.Node) -> None:
    """Same bytes, other shape."""
    b.places[node.outputs[0]] = b.place(node.inputs[0])


def lower_last_rows(b: PhaseBuilder, node: ir.Node) -> None:
    """Only norms read it: they map their rows to these."""
    for use in node.outputs[0].uses():
        if use.node.op_type not in ("RmsNorm", "AddRmsNorm"):
            raise refusal(node, f"{use.node.op_type} reads the last rows; only a norm may")
    source = b.place(node.inputs[0])
    b.places[node.outputs[0]] = Place(source.ref, source.dtype, last_rows=True)
