"""A lowering as a value: an op, a check of its nodes, and how a node is lowered."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from toolkit.compiler.lowering.builder import PhaseBuilder


@dataclass(frozen=True)
class Lowering:
    """How nodes of one op become dispatches."""

    domain: str
    op_type: str
    emit: Callable[[PhaseBuilder, ir.Node], None]
    # Why no kernel can compute a node, or None; called before anything is lowered. The second
    # argument is the name of the graph's input of token ids.
    check: Callable[[ir.Node, str], str | None] = lambda _, __: None
    joins: bool = False  # its outputs are Views: what reads them computes it
