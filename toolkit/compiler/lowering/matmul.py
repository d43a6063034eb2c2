"""Matmuls with constant weights: GEMM for many rows, GEMV for few, with what fused.py fuses."""

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from onnx_passes.ir.dims import as_expr
from onnx_passes.ir.graph import DOMAIN, needed, operand
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, label
from toolkit.compiler.lowering.fused import few_rows, gated_unit, is_product, residual
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.ops.products import lower_product
from toolkit.compiler.lowering.values import stored
from toolkit.plan.schema import Ref


def lower_matmul(b: PhaseBuilder, node: ir.Node) -> None:
    """MatMul or Linear: one dispatch, or one for each slice of a weight split over files."""
    if not is_product(node):
        lower_product(b, node)
        return
    glu = gated_unit(node)
    if glu is not None:
        _gate_up(b, node, glu)
        return
    y, rest = node.outputs[0], residual(b, node)
    _, N = matrix_dims(needed(node, 1))
    into = b.output(y if rest is None else rest[1])
    case, refs = _product(b, node, into)
    if rest is not None:
        case, refs["r"] = replace(case, residual=True), rest[0].ref
    slices = b.weights.matrix(needed(node, 1), transposed=True)
    for rows in slices:
        each = replace(case, N=rows.count)
        if case.bias:
            refs["bias"] = b.weights.vector(needed(node, 2), rows.first, rows.count)
        if len(slices) > 1:
            each = replace(each, Y0=rows.first, LDY=N)
        _emit(b, node, each, {**refs, **rows.refs, "y": into.ref})


def _gate_up(b: PhaseBuilder, node: ir.Node, glu: ir.Node) -> None:
    """One matmul for gate and up, which ends with the gated product."""
    _, width = matrix_dims(needed(node, 1))
    into = b.output(glu.outputs[0])
    case, refs = _product(b, node, into)
    b.done.add(glu)
    slices = b.weights.gate_up(needed(node, 1))
    for rows in slices:
        first = rows.first // 2
        columns = min(rows.count // 2, width // 2 - first)
        each = replace(case, N=rows.count, glu=Glu(columns, glu.overload))
        if len(slices) > 1:
            each = replace(each, Y0=first, LDY=width // 2)
        _emit(b, node, each, {**refs, **rows.refs, "y": into.ref})


def _product(b: PhaseBuilder, node: ir.Node, y: Location) -> tuple[Product, dict[str, Ref]]:
    """Case and arguments of a product, except those of its weight."""
    source, weight = needed(node, 0), needed(node, 1)
    norm = b.norms.get(source)
    x = stored(b, source) if norm is None else norm.x
    K, N = matrix_dims(weight)
    case = Product(
        M=b.rows(node.outputs[0]),
        N=N,
        K=K,
        x=x.dtype,
        y=y.dtype,
        w=b.weights.stored(weight),
        norm=None if norm is None else Norm(norm.eps),
        bias=operand(node, 2) is not None,
    )
    gamma = {} if norm is None else {"gamma": b.weights.vector(norm.gamma)}
    return case, {"x": x.ref, **gamma}


def _emit(b: PhaseBuilder, node: ir.Node, case: Product, refs: Mapping[str, Ref]) -> None:
    few = few_rows(b, node.outputs[0], needed(node, 1))
    b.emit(label(node), "gemv" if few else "gemm", case, refs)


def matrix_dims(value: ir.Value) -> tuple[int, int]:
    """Rows and columns of a constant matrix."""
    assert value.shape is not None
    rows, columns = (int(as_expr(d)) for d in value.shape)
    return rows, columns


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
