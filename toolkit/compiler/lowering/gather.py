"""Rows of a table that token ids choose."""

from typing import Any

import onnx_ir as ir

from onnx_passes.ir.graph import needed
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.matmul import matrix_dims


def lower_embed(b: PhaseBuilder, node: ir.Node) -> None:
    """A table that is split over files takes one dispatch for each piece."""
    table, y = needed(node, 0), node.outputs[0]
    place = b.output(y)
    pieces = b.weights.matrix(table, transposed=False)
    for piece in pieces:
        case: dict[str, Any] = {"M": b.rows(y), "V": piece.rows, "D": matrix_dims(table)[1]}
        case |= {**b.weights.case(table), "y": place.dtype}
        case |= {"V0": piece.first} if len(pieces) > 1 else {}
        refs = {"tokens": b.place(node.inputs[1]).ref, **piece.refs, "y": place.ref}
        b.emit("embed", "embed", case, refs)
