"""ONNX's Gather: the rows of a table that token ids choose."""

import onnx_ir as ir

from onnx_passes.ir.graph import attribute, is_constant, needed, rank
from opencl_kernels.embedding.embed import Lookup
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.ops.chosen import lower_gather
from toolkit.compiler.lowering.products.matrix_products import matrix_dims


def lower_gathered(b: PhaseBuilder, node: ir.Node) -> None:
    """Rows of the table of tokens are decoded by a kernel; else elements are read by index."""
    (lower_embed if _by_tokens(b, node) else lower_gather)(b, node)


def _by_tokens(b: PhaseBuilder, node: ir.Node) -> bool:
    table, indices = needed(node, 0), b.locations.get(needed(node, 1))
    of_rows = is_constant(table) and attribute(node, "axis", 0) == 0 and rank(table) == 2
    tokens = [("buffer", i) for i, each in enumerate(b.buffers) if each.name == "tokens"]
    return of_rows and indices is not None and indices.ref in tokens


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


GATHER = (Lowering("", "Gather", lower_gathered),)
