"""Matmuls with constant weights: GEMM for many rows, GEMV for few, gated units in one product."""

from typing import Any

import onnx_ir as ir

from onnx_passes.graph import DOMAIN, needed, operand, sole_use
from onnx_passes.shapes import as_expr
from toolkit.lower import PhaseBuilder, Place, label, refusal

GEMV_ROWS = 4  # up to so many rows a matmul is a GEMV


def lower_matmul(b: PhaseBuilder, node: ir.Node) -> None:
    """MatMul or Linear; a weight that is split over files takes one dispatch for each piece."""
    y, weight = node.outputs[0], needed(node, 1)
    glu = sole_use(y, "Glu")
    if glu is not None and glu.domain == DOMAIN:
        _gate_up(b, node, glu)
        return
    K, N = matrix_dims(weight)
    place = logits_place(b, y) if y.is_graph_output() else b.output(y)
    pieces = b.weights.matrix(weight, transposed=True)
    for piece in pieces:
        case = {**_product(b, node, place), "N": piece.rows, "K": K}
        refs = {"x": b.place(node.inputs[0]).ref, "w": piece.ref, "y": place.ref}
        if case["bias"]:
            refs["bias"] = b.weights.vector(needed(node, 2), piece.first, piece.rows)
        if len(pieces) > 1:
            case |= {"Y0": piece.first, "LDY": N}
        b.emit(label(node), _family(case), case, refs)


def _gate_up(b: PhaseBuilder, node: ir.Node, glu: ir.Node) -> None:
    """One matmul for both; with few rows the gated product is its epilogue, else a kernel."""
    if operand(node, 2) is not None:
        raise refusal(node, "gate and up have biases, which the interleaved weight does not hold")
    weight = needed(node, 1)
    K, width = matrix_dims(weight)
    ref, rows = b.weights.gate_up(weight)
    place = b.output(glu.outputs[0])
    case = {**_product(b, node, place), "N": rows, "K": K, "act": glu.overload}
    refs = {"x": b.place(node.inputs[0]).ref, "w": ref}
    b.done.add(glu)
    if _family(case) == "gemv":
        b.emit(label(node), "gemv", {**case, "GLU": 1, "F": width // 2}, {**refs, "y": place.ref})
        return
    wide = b.output(node.outputs[0], [*b.dims(node.outputs[0])[:-1], as_expr(rows)])
    b.emit(label(node), "gemm", {**case, "y": wide.dtype}, {**refs, "y": wide.ref})
    gated = {"M": case["M"], "F": width // 2, "x": wide.dtype, "y": place.dtype, "act": case["act"]}
    b.emit(label(glu), "glu", gated, {"gu": wide.ref, "y": place.ref})


def _product(b: PhaseBuilder, node: ir.Node, y: Place) -> dict[str, Any]:
    """The case of a product, but for N and K."""
    x, dtype = b.place(node.inputs[0]), b.weights.dtype(needed(node, 1))
    types = {"w": dtype, "x": x.dtype, "y": y.dtype}
    return {"M": b.rows(node.outputs[0]), **types, "bias": operand(node, 2) is not None}


def _family(case: dict[str, Any]) -> str:
    return "gemv" if case["M"].is_Integer and int(case["M"]) <= GEMV_ROWS else "gemm"


def logits_place(b: PhaseBuilder, y: ir.Value) -> Place:
    """The buffer that hands out logits."""
    b.places[y] = Place(b.buffer("logits"), "f32")
    return b.places[y]


def matrix_dims(value: ir.Value) -> tuple[int, int]:
    """Both sizes of a constant matrix."""
    assert value.shape is not None
    rows, columns = (int(as_expr(d)) for d in value.shape)
    return rows, columns
