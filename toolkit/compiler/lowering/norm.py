"""Norms, unless they are fused into a product."""

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN, attribute, needed
from opencl_kernels.norm.rmsnorm import Rows
from toolkit.compiler.lowering.builder import Location, PendingNorm, PhaseBuilder, label
from toolkit.compiler.lowering.epilogues import ended
from toolkit.compiler.lowering.fused import products_take
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.values import stored, view_of
from toolkit.compiler.views.view import elementwise


def lower_rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    """y = norm(x)."""
    _norm(b, node, stored(b, needed(node, 0), last_rows=True))


def _norm(b: PhaseBuilder, node: ir.Node, x: Location) -> None:
    gamma = needed(node, len(node.inputs) - 1)
    y = node.outputs[-1]
    if products_take(b, node):
        b.norms[y] = PendingNorm(x, gamma, attribute(node, "eps"))
        return
    refs = {"x": x.ref, "gamma": b.weights.vector(gamma), "y": b.output(y).ref}
    b.emit(label(node), "rmsnorm", _norm_case(b, node, x), refs)


def lower_add_rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    """sum = x + r, y = norm(sum); a product that one of both waits for may end with the sum."""
    summands = [view_of(b, needed(node, i)) for i in range(2)]
    total = elementwise("Add", summands, b.settings.activations)
    done = ended(b, node.outputs[0], total)
    if done is not None:
        _norm(b, node, done)
        return
    x, r = (stored(b, needed(node, i), last_rows=True) for i in range(2))
    if x.last_rows != r.last_rows:  # one lies alone in memory, so that the other must too
        x, r = (stored(b, needed(node, i)) for i in range(2))
    refs = {"x": x.ref, "r": r.ref, "gamma": b.weights.vector(needed(node, 2))}
    refs |= {name: b.output(v).ref for name, v in zip(("sum", "y"), node.outputs, strict=True)}
    b.emit(label(node), "add_rmsnorm", _norm_case(b, node, x), refs)


def _norm_case(b: PhaseBuilder, node: ir.Node, x: Location) -> Rows:
    y = node.outputs[-1]
    return Rows(
        B=b.settings.batch if x.last_rows else 1,
        M=b.rows(y),
        D=int(b.dims(y)[-1]),
        EPS=attribute(node, "eps"),
        x=x.dtype,
        y=b.settings.activations,
        last_rows=x.last_rows,
    )


NORMS = (
    Lowering(DOMAIN, "RmsNorm", lower_rmsnorm),
    Lowering(DOMAIN, "AddRmsNorm", lower_add_rmsnorm),
)
