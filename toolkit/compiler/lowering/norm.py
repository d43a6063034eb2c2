"""Norms, unless a product takes them in."""

from typing import Any

import onnx_ir as ir

from onnx_passes.ir.graph import attribute, needed
from toolkit.compiler.lowering.builder import PhaseBuilder, Place, label
from toolkit.compiler.lowering.matmul import norm_of, take_norm


def lower_rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    """y = norm(x)."""
    _norm(b, node, b.place(node.inputs[0]))


def _norm(b: PhaseBuilder, node: ir.Node, x: Place) -> None:
    norm, y = norm_of(b, node, x), node.outputs[-1]
    if take_norm(b, y, norm):
        return
    refs = {"x": x.ref, "gamma": b.weights.vector(norm.gamma), "y": b.output(y).ref}
    b.emit(label(node), "rmsnorm", _norm_case(b, node, x), refs)


def lower_add_rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    """sum = x + r, y = norm(sum); the sum may be done where the product before it ends."""
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
