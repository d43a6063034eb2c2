"""Embeddings: constant tables of which a text's token ids choose rows."""

import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.graph import attribute, is_constant, is_op, needed, rank
from onnx_passes.ir.rules import Missed

TIED = "its table is the matrix of a product, too: a token reads all of it"


def find_embeddings(model: ir.Model) -> tuple[list[ir.Node], list[Missed]]:
    """The nodes whose tables nothing else reads; the others, and why they are none."""
    tokens = roles_of(model).tokens
    found, missed = list[ir.Node](), list[Missed]()
    for node in model.graph:
        if not _looks_up(node, tokens):
            continue
        if len(needed(node, 0).uses()) == 1:
            found.append(node)
        else:
            missed.append(tied(node))
    return found, missed


def tied(node: ir.Node) -> Missed:
    """Of a lookup whose table is read as a whole, too."""
    return Missed(node.op_type, node.name or node.outputs[0].name or "", TIED)


def _looks_up(node: ir.Node, tokens: str) -> bool:
    """Whether token ids choose rows of a constant matrix of floats."""
    if not is_op(node, "Gather") or attribute(node, "axis", 0) != 0:
        return False
    table, ids = needed(node, 0), needed(node, 1)
    matrix = is_constant(table) and rank(table) == 2
    floats = table.dtype is not None and table.dtype.is_floating_point()
    return matrix and floats and ids.name == tokens
