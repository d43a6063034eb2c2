"""Products of tensors that no matrix kernel computes: a reduction of the operands' product."""

from functools import partial

import onnx_ir as ir

from onnx_passes.ir.graph import needed
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import Deferred, Product
from toolkit.compiler.lowering.dispatches import emit_reduce
from toolkit.compiler.lowering.ops.attend import attended
from toolkit.compiler.lowering.values import kept, shape_of, view_of
from toolkit.compiler.views.poly import poly
from toolkit.compiler.views.scalar import Scalar
from toolkit.compiler.views.simplify import apply
from toolkit.compiler.views.view import (
    At,
    View,
    axes_of,
    broadcast,
    expanded,
    in_memory,
    reshaped,
    size_of,
)


def lower_product(b: PhaseBuilder, node: ir.Node) -> None:
    """MatMul of any two tensors: batches broadcast, vectors are matrices of one row or column."""
    left, right = (view_of(b, needed(node, i)) for i in range(2))
    x = left if len(left.shape) > 1 else reshaped(left, (poly(1), *left.shape))
    w = right if len(right.shape) > 1 else reshaped(right, (*right.shape, poly(1)))
    outer = broadcast([x.shape[:-2], w.shape[:-2]])
    M, K, N = x.shape[-2], x.shape[-1], w.shape[-1]
    product = Product(expanded(x, (*outer, M, K)), expanded(w, (*outer, K, N)))
    found = attended(b, label(node), product)
    if found is not None:
        b.views[node.outputs[0]] = reshaped(found, shape_of(b, node.outputs[0]))
        return
    later = Deferred(
        b.settings.activations,
        (*outer, M, N),
        product,
        partial(_multiply, b, label(node), product),
    )
    y = node.outputs[0]
    b.views[y] = reshaped(in_memory(later, later.shape), shape_of(b, y))


def _multiply(b: PhaseBuilder, name: str, product: Product) -> Location:
    """The product of two Views in memory of its own."""
    *outer, M, K = product.left.shape
    N = product.right.shape[-1]
    left, right = (_cheap(b, f"{name} operand", each) for each in (product.left, product.right))

    def read(at: At) -> Scalar:
        *batch, m, n, k = at
        return apply("Mul", left.read([*batch, m, k]), right.read([*batch, k, n]))

    dtype = b.settings.activations
    sizes = [size_of(size) for size in (*outer, M, N)]
    into = Location(b.temporary(name, dtype, sizes), dtype)
    emit_reduce(b, name, into, View((*outer, M, N, K), dtype, read), 1)
    return into


def _cheap(b: PhaseBuilder, name: str, view: View) -> View:
    """An operand, of which every element is read often: stored, if it costs more than a load."""
    if not view.read(axes_of(view.shape)).cost:
        return view
    return in_memory(kept(b, name, view), view.shape)
