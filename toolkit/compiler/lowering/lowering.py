"""A lowering is a value: an op, which of its nodes kernels serve, and how a node is lowered."""

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
    # Why no kernel serves a node, or None; asked before anything is lowered. The graph's input of
    # token ids is the second argument.
    check: Callable[[ir.Node, str], str | None] = lambda _, __: None
