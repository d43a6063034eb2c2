"""Gather: the rows of a table that token ids choose."""

import onnx_ir as ir

from onnx_passes.ir.graph import attribute, is_constant, needed
from opencl_kernels.embedding.embed import Lookup
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.matmul import matrix_dims


def lower_embed(b: PhaseBuilder, node: ir.Node) -> None:
    """One dispatch, or one for each slice of a table that is split over files."""
    table, y = needed(node, 0), node.outputs[0]
    into = b.output(y)
    slices = b.weights.matrix(table, transposed=False)
    for each in slices:
        case = Lookup(
            M=b.rows(y),
            V=each.count,
            D=matrix_dims(table)[1],
            V0=each.first if len(slices) > 1 else None,
            w=b.weights.stored(table),
            y=into.dtype,
        )
        refs = {"tokens": b.location(node.inputs[1]).ref, **each.refs, "y": into.ref}
        b.emit("embed", "embed", case, refs)


def check_gather(node: ir.Node, tokens: str) -> str | None:
    """Kernels gather only rows of constant matrices, by token ids."""
    table = needed(node, 0)
    rows = is_constant(table) and attribute(node, "axis", 0) == 0
    if not rows or table.shape is None or table.shape.rank() != 2:
        return "only rows of a constant matrix can be gathered"
    return None if needed(node, 1).name == tokens else "only token ids can choose the rows"


GATHER = (Lowering("", "Gather", lower_embed, check_gather),)
