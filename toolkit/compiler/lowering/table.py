"""The table of lowerings by op, and why no kernel can compute a node."""

import onnx_ir as ir

from onnx_passes.ir.dims import as_expr, symbolic_value
from toolkit.compiler.lowering.attention import ATTENTION
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.experts import EXPERTS
from toolkit.compiler.lowering.gather import GATHER
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.norm import NORMS
from toolkit.compiler.lowering.ops.chosen import CHOSEN
from toolkit.compiler.lowering.ops.counters import OF_COUNTERS, bind_counters
from toolkit.compiler.lowering.ops.elements import ELEMENTS
from toolkit.compiler.lowering.ops.filled import FILLED
from toolkit.compiler.lowering.ops.movement import MOVEMENT
from toolkit.compiler.lowering.ops.pocket import POCKET
from toolkit.compiler.lowering.ops.rows import ROWS
from toolkit.compiler.lowering.ops.scan import SCAN
from toolkit.compiler.lowering.ops.scatter import SCATTER
from toolkit.compiler.lowering.products.matmul import PRODUCTS
from toolkit.compiler.lowering.records.channels import TOP_MASK, lower_channels
from toolkit.compiler.lowering.records.ffn import lower_ffn
from toolkit.compiler.lowering.records.rows import lower_rows
from toolkit.compiler.lowering.values import TYPES, deliver, give_sizes
from toolkit.compiler.views.view import poly_of
from toolkit.compiler.weights.channels import TabledChannels
from toolkit.compiler.weights.records import Tabled
from toolkit.compiler.weights.rows import TabledRows

LOWERINGS: dict[tuple[str, str], Lowering] = {
    (each.domain, each.op_type): each
    for each in (
        *(*GATHER, *PRODUCTS, *EXPERTS, *NORMS, *ATTENTION, *MOVEMENT, *CHOSEN, *FILLED),
        *(*ELEMENTS, *ROWS, *SCAN, *SCATTER, *POCKET, *OF_COUNTERS, TOP_MASK),
    )
}
OF_ANY_SIZE = ("NonZero", "Compress", "Unique", "NonMaxSuppression")
JOINING = frozenset(op for op, each in LOWERINGS.items() if each.joins)


def lower_nodes(graph: ir.Graph, builder: PhaseBuilder) -> None:
    """Lower every node that is not fused into an earlier one, nor only about sizes."""
    bind_counters(builder, graph)
    for node in graph:
        if node in builder.done or give_sizes(builder, node):
            continue
        tabled = builder.tabled.get(node)
        if isinstance(tabled, TabledRows):
            lower_rows(builder, tabled)
        elif isinstance(tabled, TabledChannels):
            lower_channels(builder, tabled)
        elif isinstance(tabled, Tabled):
            lower_ffn(builder, tabled)
        else:
            LOWERINGS[(node.domain, node.op_type)].emit(builder, node)
    for output in graph.outputs:
        deliver(builder, output)


def unsupported(node: ir.Node, tokens: str) -> str | None:
    """Why no kernel can compute this node, or None; `tokens`: the graph's input of ids."""
    if all(symbolic_value(output) is not None for output in node.outputs):
        return None  # its values are sizes, which are known
    lowering = LOWERINGS.get((node.domain, node.op_type))
    if lowering is not None:
        return _unfit(node) or lowering.check(node, tokens)
    if node.domain == "" and node.op_type in OF_ANY_SIZE:
        return "how many elements it gives depends on the data: a plan's sizes must not"
    return "no kernel computes this op"


def computes(node: ir.Node) -> bool:
    """Whether kernels compute a node, or nothing has to."""
    return unsupported(node, "") is None


def _unfit(node: ir.Node) -> str | None:
    """Why no kernel reads or writes a value of the node, whatever the op."""
    for value in (v for v in (*node.inputs, *node.outputs) if v is not None):
        if value.dtype not in TYPES:
            name = "unknown type" if value.dtype is None else f"type {value.dtype.name.lower()}"
            return f"{value.name} is of {name}: floats, int32, int64 and bool have kernels"
        for dim in value.shape or ():
            if not isinstance(dim, int) and dim.value is not None and not _is_poly(dim):
                return f"the size {dim} of {value.name} is no sum of products of symbols"
    return None


def _is_poly(dim: ir.SymbolicDim) -> bool:
    try:
        poly_of(as_expr(dim), {})
    except ValueError:
        return False
    return True
