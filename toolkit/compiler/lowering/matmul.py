"""Matmuls with constant weights: GEMM for many rows, GEMV for few; what stands around them goes in.

A gated unit is the product's end, and so is the sum with the residual stream; where a product has
few rows, the norm before it is its beginning.
"""

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from onnx_passes.ir.dims import as_expr
from onnx_passes.ir.graph import DOMAIN, attribute, is_constant, needed, operand, sole_use
from opencl_kernels.formats import CODED
from toolkit.compiler.lowering.builder import Norm, PhaseBuilder, Place, label, refusal

GEMV_ROWS = 4  # up to so many rows a matmul is a GEMV; with codes, whose decoding costs, one


def lower_matmul(b: PhaseBuilder, node: ir.Node) -> None:
    """MatMul or Linear; a weight that is split over files takes one dispatch for each piece."""
    y = node.outputs[0]
    glu = sole_use(y, "Glu")
    if glu is not None and glu.domain == DOMAIN:
        _gate_up(b, node, glu)
        return
    K, N = matrix_dims(needed(node, 1))
    rest = _residual(b, node)
    place = logits_place(b, y) if y.is_graph_output() else b.output(y if rest is None else rest[1])
    case, refs = _product(b, node, place)
    if rest is not None:
        case["residual"], refs["r"] = True, rest[0].ref
    pieces = b.weights.matrix(needed(node, 1), transposed=True)
    for piece in pieces:
        each = {**case, "N": piece.rows, "K": K}
        if case["bias"]:
            refs["bias"] = b.weights.vector(needed(node, 2), piece.first, piece.rows)
        if len(pieces) > 1:
            each |= {"Y0": piece.first, "LDY": N}
        b.emit(label(node), _family(each), each, {**refs, **piece.refs, "y": place.ref})


def _gate_up(b: PhaseBuilder, node: ir.Node, glu: ir.Node) -> None:
    """One matmul for both, whose end is the gated product."""
    if operand(node, 2) is not None:
        raise refusal(node, "gate and up have biases, which the interleaved weight does not hold")
    K, width = matrix_dims(needed(node, 1))
    place = b.output(glu.outputs[0])
    case, refs = _product(b, node, place)
    b.done.add(glu)
    pieces = b.weights.gate_up(needed(node, 1))
    for piece in pieces:
        first = piece.first // 2
        columns = min(piece.rows // 2, width // 2 - first)
        each = {**case, "N": piece.rows, "K": K, "GLU": 1, "F": columns, "act": glu.overload}
        if len(pieces) > 1:
            each |= {"Y0": first, "LDY": width // 2}
        b.emit(label(node), _family(each), each, {**refs, **piece.refs, "y": place.ref})


def _product(b: PhaseBuilder, node: ir.Node, y: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    """Case and arguments of a product, but for those of its weight."""
    source = needed(node, 0)
    norm = b.norms.get(source)
    x = b.place(source) if norm is None else norm.x
    case = {"M": b.rows(node.outputs[0]), "x": x.dtype, "y": y.dtype}
    case |= {"bias": operand(node, 2) is not None, **b.weights.case(needed(node, 1))}
    if norm is None:
        return case, {"x": x.ref}
    return {**case, "EPS": norm.eps}, {"x": x.ref, "gamma": b.weights.vector(norm.gamma)}


def _family(case: dict[str, Any]) -> str:
    few = case["M"].is_Integer and int(case["M"]) <= (1 if case["w"] in CODED else GEMV_ROWS)
    return "gemm" if not few else "gemv_quantized" if case["w"] in CODED else "gemv"


# --- what goes into a product -------------------------------------------------------------------


def take_norm(b: PhaseBuilder, y: ir.Value, norm: Norm) -> bool:
    """Leave a norm to the products that read it, where all that do are GEMVs."""
    nodes = [use.node for use in y.uses()]
    rows = {"M": b.rows(y)}
    if norm.x.last_rows and not _all_rows(b, y):
        return False
    products = all(is_product(n) and n.inputs[0] is y for n in nodes)
    if not products or y.is_graph_output():
        return False
    if any(_family({**rows, **b.weights.case(needed(n, 1))}) == "gemm" for n in nodes):
        return False
    b.norms[y] = norm
    return True


def _residual(b: PhaseBuilder, node: ir.Node) -> tuple[Place, ir.Value] | None:
    """The place that a product is added to, and the sum, if only an AddRmsNorm reads the product.

    The sum then is the product's end, and the AddRmsNorm a norm.
    """
    value, rows = node.outputs[0], sole_use(node.outputs[0], "LastRows")
    if rows is not None and _all_rows(b, rows.outputs[0]):
        value = rows.outputs[0]
    add = sole_use(value, "AddRmsNorm")
    if add is None or add.inputs[0] is add.inputs[1] or not _all_rows(b, needed(add, 0)):
        return None
    other = next(v for v in add.inputs[:2] if v is not value)
    place = next((b.places[source] for source in _views(other) if source in b.places), None)
    if place is None or place.dtype != b.settings.activations:
        return None
    b.summed.add(add)
    b.done |= {rows} if rows is not None else set()
    return place, add.outputs[0]


def _views(value: ir.Value | None) -> Iterator[ir.Value]:
    """The value, and what it is the last rows of."""
    while value is not None:
        yield value
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type == "LastRows" else None


def _all_rows(b: PhaseBuilder, value: ir.Value) -> bool:
    """Whether, in this phase, a value that may hold last rows holds all of them."""
    first = list(_views(value))[-1]
    return bool(b.rows(first) == b.rows(value))


def is_product(node: ir.Node | None) -> bool:
    """Whether a node is a matmul with a constant matrix."""
    if node is None or node.op_type not in ("MatMul", "Linear"):
        return False
    weight = needed(node, 1)
    return is_constant(weight) and weight.shape is not None and weight.shape.rank() == 2


def norm_of(b: PhaseBuilder, node: ir.Node, x: Place) -> Norm:
    """What an RmsNorm or AddRmsNorm does to x."""
    return Norm(x, needed(node, len(node.inputs) - 1), attribute(node, "eps"))


def logits_place(b: PhaseBuilder, y: ir.Value) -> Place:
    """The buffer that hands out logits."""
    b.places[y] = Place(b.buffer("logits"), "f32")
    return b.places[y]


def matrix_dims(value: ir.Value) -> tuple[int, int]:
    """Both sizes of a constant matrix."""
    assert value.shape is not None
    rows, columns = (int(as_expr(d)) for d in value.shape)
    return rows, columns
