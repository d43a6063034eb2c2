"""The table of lowerings by op, and why no kernel can compute a node."""

import onnx_ir as ir

from toolkit.compiler.lowering.attention import ATTENTION
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.elementwise import CHAINS
from toolkit.compiler.lowering.gather import GATHER
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.matmul import PRODUCTS
from toolkit.compiler.lowering.norm import NORMS
from toolkit.compiler.lowering.view import VIEWS

LOWERINGS: dict[tuple[str, str], Lowering] = {
    (each.domain, each.op_type): each
    for each in (*GATHER, *PRODUCTS, *VIEWS, *NORMS, *ATTENTION, *CHAINS)
}


def lower_nodes(graph: ir.Graph, builder: PhaseBuilder) -> None:
    """Lower every node that is not fused into an earlier one."""
    for node in graph:
        if node not in builder.done:
            LOWERINGS[(node.domain, node.op_type)].emit(builder, node)


def unsupported(node: ir.Node, tokens: str) -> str | None:
    """Why no kernel can compute this node, or None; `tokens`: the graph's input of ids."""
    lowering = LOWERINGS.get((node.domain, node.op_type))
    return "no kernel computes this op" if lowering is None else lowering.check(node, tokens)
