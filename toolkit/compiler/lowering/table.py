"""Which kernels serve which op: the table of handlers, and why a node has none.

Handlers say sizes in the kernels' own letters (opencl_kernels/kernel.py) and where arguments lie;
the rest follows.
"""

from collections.abc import Callable

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN, attribute, is_constant, needed, sole_use
from toolkit.compiler.lowering.attention import lower_attention, lower_rope_kv_write
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.elementwise import lower_elementwise
from toolkit.compiler.lowering.gather import lower_embed
from toolkit.compiler.lowering.matmul import is_product, lower_matmul
from toolkit.compiler.lowering.norm import lower_add_rmsnorm, lower_rmsnorm
from toolkit.compiler.lowering.view import lower_last_rows, lower_view

Handler = Callable[[PhaseBuilder, ir.Node], None]
HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Gather"): lower_embed,
    ("", "MatMul"): lower_matmul,
    ("", "Reshape"): lower_view,
    (DOMAIN, "Linear"): lower_matmul,
    (DOMAIN, "RmsNorm"): lower_rmsnorm,
    (DOMAIN, "AddRmsNorm"): lower_add_rmsnorm,
    (DOMAIN, "RopeKvWrite"): lower_rope_kv_write,
    (DOMAIN, "Attention"): lower_attention,
    (DOMAIN, "LastRows"): lower_last_rows,
    (DOMAIN, "Elementwise"): lower_elementwise,
}


def lower_nodes(graph: ir.Graph, builder: PhaseBuilder) -> None:
    """Run every node through its handler."""
    for node in graph:
        if node not in builder.done:
            HANDLERS[(node.domain, node.op_type)](builder, node)


def unsupported(node: ir.Node, tokens: str) -> str | None:
    """Why no kernel serves this node, or None if one does; `tokens`: the graph's input of ids."""
    if node.domain == DOMAIN and node.op_type == "Glu":  # the matmul before it takes it along
        source = node.inputs[0]
        whole = source is not None and sole_use(source) is node and is_product(source.producer())
        return None if whole else "gate and up do not come from one matmul that it alone reads"
    if (node.domain, node.op_type) not in HANDLERS:
        return "no kernel computes this op"
    if node.op_type == "Gather":
        return _against_gather(node, tokens)
    if node.op_type == "MatMul" and not is_product(node):
        return "only a constant matrix can be multiplied with"
    return None


def _against_gather(node: ir.Node, tokens: str) -> str | None:
    table = needed(node, 0)
    rows = is_constant(table) and attribute(node, "axis", 0) == 0
    if not rows or table.shape is None or table.shape.rank() != 2:
        return "only rows of a constant matrix can be gathered"
    return None if needed(node, 1).name == tokens else "only token ids can choose the rows"
