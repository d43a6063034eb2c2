"""Matmuls: with constant weights they wait for what is computed of their result (epilogues.py)."""

from functools import partial

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN, needed
from toolkit.compiler.lowering.builder import Location, Memory, PhaseBuilder
from toolkit.compiler.lowering.deferred import Deferred, MatrixProduct
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.ops.products import lower_product
from toolkit.compiler.lowering.products.fused import is_product, takes_norm
from toolkit.compiler.lowering.products.matrix_products import emit_product
from toolkit.compiler.lowering.products.row_norms import norm_in_product, sum_in_product
from toolkit.compiler.lowering.values import shape_of, stored
from toolkit.compiler.views.view import in_memory


def lower_matmul(b: PhaseBuilder, node: ir.Node) -> None:
    """MatMul or Linear."""
    if not is_product(node):
        lower_product(b, node)
        return
    source, y = needed(node, 0), node.outputs[0]
    norm = b.norms.get(source)
    x = _x_of(b, node, source) if norm is None else norm.x
    product = MatrixProduct(node, x, norm)
    later = Deferred(b.floats_of(y), shape_of(b, y), product, partial(_multiply, b, product))
    b.views[y] = in_memory(later, later.shape)


def _x_of(b: PhaseBuilder, node: ir.Node, source: ir.Value) -> Memory:
    """x in memory, which the product may fill by itself if it is of few rows."""
    if source in b.views and takes_norm(b, node.outputs[0], needed(node, 1)):
        view = b.views[source]
        waiting = sum_in_product(b, source, view) or norm_in_product(b, view)
        if waiting is not None:
            b.views[source] = in_memory(waiting, view.shape)
            return waiting
    return stored(b, source)


def _multiply(b: PhaseBuilder, product: MatrixProduct) -> Location:
    """The product in memory of its own."""
    into = b.output(product.value)
    emit_product(b, product, into)
    return into


def check_product(node: ir.Node, _: str) -> str | None:
    """Of floats; biases are added to products with constant matrices."""
    x = needed(node, 0)
    if x.dtype is not None and not x.dtype.is_floating_point():
        return "only floats are multiplied as matrices"
    if node.op_type == "Linear" and not is_product(node):
        return "only products with a constant matrix take a bias"
    return None


PRODUCTS = (
    Lowering("", "MatMul", lower_matmul, check_product),
    Lowering(DOMAIN, "Linear", lower_matmul, check_product),
)
