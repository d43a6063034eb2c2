"""Products of tensors of which none is a constant matrix: tiles, or sums of their own."""

from collections.abc import Callable, Sequence
from functools import partial

import onnx_ir as ir

from onnx_passes.ir.graph import needed
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import Deferred, Product, TiledProduct
from toolkit.compiler.lowering.dispatches import emit_reduce
from toolkit.compiler.lowering.ops.attend import attended
from toolkit.compiler.lowering.products.activations import (
    V,
    emit_batched,
    takes_tiles,
)
from toolkit.compiler.lowering.products.strided import Matrices, matrices_of
from toolkit.compiler.lowering.values import kept, shape_of, storage_of, view_of
from toolkit.compiler.views.poly import poly
from toolkit.compiler.views.scalar import Scalar
from toolkit.compiler.views.simplify import apply
from toolkit.compiler.views.view import (
    At,
    Shape,
    View,
    axes_of,
    broadcast,
    expanded,
    in_memory,
    reshaped,
    size_of,
)

Operand = tuple[View, Shape]  # matrices, and the shape that they broadcast to


def lower_product(b: PhaseBuilder, node: ir.Node) -> None:
    """MatMul of any two tensors: batches broadcast, vectors are matrices of one row or column."""
    left, right = (view_of(b, needed(node, i)) for i in range(2))
    x = left if len(left.shape) > 1 else reshaped(left, (poly(1), *left.shape))
    w = right if len(right.shape) > 1 else reshaped(right, (*right.shape, poly(1)))
    outer = broadcast([x.shape[:-2], w.shape[:-2]])
    M, K, N = x.shape[-2], x.shape[-1], w.shape[-1]
    y, shapes = node.outputs[0], ((*outer, M, K), (*outer, K, N))
    product = Product(expanded(x, shapes[0]), expanded(w, shapes[1]), y)
    found = attended(b, label(node), product)
    if found is not None:
        b.views[y] = reshaped(found, shape_of(b, y))
        return
    operands = tuple(zip((x, w), shapes, strict=True))
    fill = partial(_sums, b, label(node), operands)
    if takes_tiles(b, product):
        tiles = partial(_tiles, b, label(node), operands)
        product, fill = TiledProduct(**vars(product), tiles=tiles), partial(tiles, element=V)
    shape = (*outer, M, N)
    dtype = storage_of(b, y)
    own = partial(_multiply, b, label(node), dtype, shape, fill)
    later = Deferred(dtype, shape, product, own)
    b.views[y] = reshaped(in_memory(later, later.shape), shape_of(b, y))


def _multiply(
    b: PhaseBuilder, name: str, dtype: str, shape: Shape, fill: Callable[[Location], None]
) -> Location:
    """The product in memory of its own."""
    into = Location(b.temporary(name, dtype, [size_of(size) for size in shape]), dtype)
    fill(into)
    return into


def _tiles(
    b: PhaseBuilder, name: str, operands: Sequence[Operand], into: Location, element: Scalar
) -> None:
    """By the kernel of tiles; an operand that no strides lead through is stored."""
    left, right = (_in_strides(b, f"{name} operand", *operand) for operand in operands)
    emit_batched(b, name, (left, right), into, element)


def _in_strides(b: PhaseBuilder, name: str, view: View, shape: Shape) -> Matrices:
    found = matrices_of(expanded(view, shape))
    if found is None:
        found = matrices_of(expanded(in_memory(kept(b, name, view), view.shape), shape))
    assert found is not None, "what lies row by row is read by strides"
    return found


def _sums(b: PhaseBuilder, name: str, operands: Sequence[Operand], into: Location) -> None:
    """By a reduction of the operands' product."""
    left, right = (expanded(_cheap(b, f"{name} operand", v), shape) for v, shape in operands)
    K, N = right.shape[-2:]

    def read(at: At) -> Scalar:
        *batch, m, n, k = at
        return apply("Mul", left.read([*batch, m, k]), right.read([*batch, k, n]))

    shape = (*left.shape[:-1], N, K)
    emit_reduce(b, name, into, View(shape, into.dtype, read), 1)


def _cheap(b: PhaseBuilder, name: str, view: View) -> View:
    """An operand, of which every element is read often: stored, if it costs more than a load."""
    if not view.read(axes_of(view.shape)).cost:
        return view
    return in_memory(kept(b, name, view), view.shape)
