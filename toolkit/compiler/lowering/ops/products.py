"""Products of tensors that no matrix kernel computes: a reduction of the operands' product."""

import onnx_ir as ir

from onnx_passes.ir.graph import needed
from toolkit.compiler.lowering.builder import PhaseBuilder, label
from toolkit.compiler.lowering.dispatches import emit_reduce
from toolkit.compiler.lowering.values import stored, view_of
from toolkit.compiler.views.poly import poly
from toolkit.compiler.views.scalar import Scalar, apply
from toolkit.compiler.views.view import At, View, axes_of, broadcast, expanded, reshaped


def lower_product(b: PhaseBuilder, node: ir.Node) -> None:
    """MatMul of any two tensors: batches broadcast, vectors are matrices of one row or column."""
    left, right = (_cheap(b, needed(node, i)) for i in range(2))
    x = left if len(left.shape) > 1 else reshaped(left, (poly(1), *left.shape))
    w = right if len(right.shape) > 1 else reshaped(right, (*right.shape, poly(1)))
    outer = broadcast([x.shape[:-2], w.shape[:-2]])
    M, K, N = x.shape[-2], x.shape[-1], w.shape[-1]
    x_bMK, w_bKN = expanded(x, (*outer, M, K)), expanded(w, (*outer, K, N))

    def read(at: At) -> Scalar:
        *batch, m, n, k = at
        return apply("Mul", x_bMK.read([*batch, m, k]), w_bKN.read([*batch, k, n]))

    pairs = View((*outer, M, N, K), b.settings.activations, read)
    emit_reduce(b, label(node), b.output(node.outputs[0]), pairs, 1)


def _cheap(b: PhaseBuilder, value: ir.Value) -> View:
    """An operand, of which every element is read often: stored, if it costs more than a load."""
    view = view_of(b, value)
    if value in b.views and view.read(axes_of(view.shape)).cost:
        stored(b, value)
    return view_of(b, value)
