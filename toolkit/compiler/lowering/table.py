"""Which kernels serve which op: the table of handlers, and why a node has none.

Handlers say sizes in the kernels' own letters (opencl_kernels/kernel.py) and where arguments lie;
the rest follows.
"""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import sympy

from onnx_passes.ir.graph import DOMAIN, attribute, is_constant, needed, sole_use
from toolkit.compiler.lowering.attention import lower_attention, lower_rope_kv_write
from toolkit.compiler.lowering.builder import PhaseBuilder, Place, c_expression, label, refusal
from toolkit.compiler.lowering.elementwise import expression, index_map
from toolkit.compiler.lowering.matmul import (
    is_product,
    logits_place,
    lower_matmul,
    matrix_dims,
    norm_of,
    take_norm,
)

Handler = Callable[[PhaseBuilder, ir.Node], None]


def _embed(b: PhaseBuilder, node: ir.Node) -> None:
    table, y = needed(node, 0), node.outputs[0]
    place = b.output(y)
    pieces = b.weights.matrix(table, transposed=False)
    for piece in pieces:
        case: dict[str, Any] = {"M": b.rows(y), "V": piece.rows, "D": matrix_dims(table)[1]}
        case |= {**b.weights.case(table), "y": place.dtype}
        case |= {"V0": piece.first} if len(pieces) > 1 else {}
        refs = {"tokens": b.place(node.inputs[1]).ref, **piece.refs, "y": place.ref}
        b.emit("embed", "embed", case, refs)


def _rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    _norm(b, node, b.place(node.inputs[0]))


def _norm(b: PhaseBuilder, node: ir.Node, x: Place) -> None:
    norm, y = norm_of(b, node, x), node.outputs[-1]
    if take_norm(b, y, norm):
        return
    refs = {"x": x.ref, "gamma": b.weights.vector(norm.gamma), "y": b.output(y).ref}
    b.emit(label(node), "rmsnorm", _norm_case(b, node, x), refs)


def _add_rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    if node in b.summed:
        _norm(b, node, b.places[node.outputs[0]])
        return
    x, r = b.place(node.inputs[0]), b.place(node.inputs[1])
    refs = {"x": x.ref, "r": r.ref, "gamma": b.weights.vector(needed(node, 2))}
    refs |= {name: b.output(v).ref for name, v in zip(("sum", "y"), node.outputs, strict=True)}
    b.emit(label(node), "add_rmsnorm", _norm_case(b, node, x), refs)


def _norm_case(b: PhaseBuilder, node: ir.Node, x: Place) -> dict[str, Any]:
    y = node.outputs[-1]
    case = {"M": b.rows(y), "D": int(b.dims(y)[-1]), "EPS": attribute(node, "eps")}
    case |= {"x": x.dtype, "y": b.settings.activations}
    return {**case, "rows": "last"} if x.last_rows else case


def _view(b: PhaseBuilder, node: ir.Node) -> None:
    """Same bytes, other shape."""
    b.places[node.outputs[0]] = b.place(node.inputs[0])


def _last_rows(b: PhaseBuilder, node: ir.Node) -> None:
    """Only norms read it: they map their rows to these."""
    for use in node.outputs[0].uses():
        if use.node.op_type not in ("RmsNorm", "AddRmsNorm"):
            raise refusal(node, f"{use.node.op_type} reads the last rows; only a norm may")
    source = b.place(node.inputs[0])
    b.places[node.outputs[0]] = Place(source.ref, source.dtype, last_rows=True)


def _elementwise(b: PhaseBuilder, node: ir.Node) -> None:
    y = node.outputs[0]
    place = logits_place(b, y) if y.is_graph_output() else b.output(y)
    shape, text = b.dims(y), expression(b.functions[node.op_identifier()])
    count = sympy.prod(shape)
    case: dict[str, Any] = {"EXPR": text, "INPUTS": len(node.inputs), "y": place.dtype}
    case |= {"COUNT": count, "COUNT_C": c_expression(count)}
    refs = {"y": place.ref}
    for i in range(len(node.inputs)):
        value = needed(node, i)
        known = is_constant(value)
        source = Place(b.weights.vector(value), "f32") if known else b.place(value)
        case[f"IDX{i}"] = index_map(shape, b.dims(value))
        case |= {f"SIZE{i}": size} if (size := sympy.prod(b.dims(value))) != count else {}
        case[f"a{i}"], refs[f"a{i}"] = source.dtype, source.ref
    b.emit(label(node), "elementwise", case, refs)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Gather"): _embed,
    ("", "MatMul"): lower_matmul,
    ("", "Reshape"): _view,
    (DOMAIN, "Linear"): lower_matmul,
    (DOMAIN, "RmsNorm"): _rmsnorm,
    (DOMAIN, "AddRmsNorm"): _add_rmsnorm,
    (DOMAIN, "RopeKvWrite"): lower_rope_kv_write,
    (DOMAIN, "Attention"): lower_attention,
    (DOMAIN, "LastRows"): _last_rows,
    (DOMAIN, "Elementwise"): _elementwise,
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
