"""Dispatches of products with constant matrices: GEMM for many rows, GEMV for few."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from onnx_passes.ir.dims import as_expr
from onnx_passes.ir.graph import needed, operand
from opencl_kernels.map.indexed import Operand
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from toolkit.compiler.lowering.builder import Location, PendingNorm, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import Deferred, MatrixProduct, NormedSum, RowNorm
from toolkit.compiler.lowering.products.fused import few_rows
from toolkit.compiler.lowering.products.strided import RowPart
from toolkit.plan.schema import Ref


@dataclass(frozen=True)
class Ending:
    """What a product does with its sums: fields of its case, and the memory that they read."""

    epilogue: str = ""
    inputs: tuple[Operand, ...] = ()
    residual: bool = False
    glu: Glu | None = None
    refs: Mapping[str, Ref] = field(default_factory=dict)


def emit_product(
    b: PhaseBuilder, product: MatrixProduct, into: Location, ending: Ending | None = None
) -> None:
    """One dispatch, or one for each slice of a weight split over files."""
    case, refs = _product(b, product, into, ending or Ending())
    bias = operand(product.node, 2)
    slices = b.weights.matrix(product.weight, transposed=True)
    for rows in slices:
        each = replace(case, N=rows.count, bias=bias is not None)
        if bias is not None:
            refs["bias"] = b.weights.vector(bias, rows.first, rows.count)
        if len(slices) > 1:
            each = replace(each, Y0=rows.first, LDY=case.N)
        _emit(b, product, each, {**refs, **rows.refs})
        case, refs = _after_start(case, refs)


def emit_gated(
    b: PhaseBuilder,
    product: MatrixProduct,
    halves: Sequence[tuple[ir.Value, int]],
    into: Location,
    ending: Ending,
) -> None:
    """The same of gates and ups: so many columns of two matrices, from these on."""
    assert ending.glu is not None
    case, refs = _product(b, product, into, ending)
    width = ending.glu.F
    slices = b.weights.gate_up(halves, width)
    for rows in slices:
        first = rows.first // 2
        columns = min(rows.count // 2, width - first)
        each = replace(case, N=rows.count, glu=replace(ending.glu, F=columns))
        if len(slices) > 1:
            each = replace(each, Y0=first, LDY=width)
        _emit(b, product, each, {**refs, **rows.refs})
        case, refs = _after_start(case, refs)


def _product(
    b: PhaseBuilder, product: MatrixProduct, into: Location, ending: Ending
) -> tuple[Product, dict[str, Ref]]:
    """Case and arguments of a product, except those of its weight."""
    weight, start = product.weight, _start(b, product)
    K, N = matrix_dims(weight)
    norm = start.norm
    part = product.x if isinstance(product.x, RowPart) else None
    case = Product(
        M=b.rows(product.value),
        N=N,
        K=K,
        x=product.x.dtype,
        LDX=0 if part is None else part.stride or part.first + K,
        X0=0 if part is None else part.first,
        y=into.dtype,
        w=b.weights.stored(weight),
        sum_eps=start.sum_eps,
        norm=None if norm is None else Norm(norm.eps, norm.centred, norm.beta is not None),
        normed_as=_normed_as(b, product),
        keeps_norm="normed" in start.refs,
        residual=ending.residual,
        glu=ending.glu,
        epilogue=ending.epilogue,
        inputs=ending.inputs,
    )
    refs = {**start.refs, **ending.refs, "y": into.ref}
    for name, vector in () if norm is None else (("gamma", norm.gamma), ("beta", norm.beta)):
        if vector is not None:
            refs[name] = b.weights.vector(vector)
    return case, refs


def _normed_as(b: PhaseBuilder, product: MatrixProduct) -> str:
    """The type that would hold what the product's norm makes, where x lies in another."""
    dtype = b.float_type(needed(product.node, 0))
    return "" if product.norm is None or dtype == product.x.dtype else dtype


@dataclass(frozen=True)
class _Start:
    """What a product does before it multiplies: the sum that x is, a norm, and their memory."""

    sum_eps: float | None
    norm: PendingNorm | None
    refs: Mapping[str, Ref]


def _start(b: PhaseBuilder, product: MatrixProduct) -> _Start:
    """What x waits for is left to the product, which stores it for those that read it next."""
    x, norm, refs = product.x, product.norm, dict[str, Ref]()
    if isinstance(x, Deferred) and x.waits and isinstance(x.of, RowNorm):
        norm, inner = x.of.pending, x.of.x
        x.filled(b.output(x.of.value, dtype=x.dtype))
        refs["normed"], x = x.ref, inner
    if not isinstance(x, Deferred) or not x.waits or not isinstance(x.of, NormedSum):
        return _Start(None, norm, {"x": x.ref, **refs})
    found = x.of
    x.filled(b.output(found.value, dtype=x.dtype))
    refs |= {"x": found.norm.x.ref, "stream": found.stream.ref, "sum": x.ref}
    refs["stream_gamma"] = b.weights.vector(found.norm.gamma)
    return _Start(found.norm.eps, norm, refs)


def _after_start(case: Product, refs: dict[str, Ref]) -> tuple[Product, dict[str, Ref]]:
    """The same for slices of the matrix after the first, which has stored what it begins with."""
    if case.keeps_norm:
        case = replace(case, sum_eps=None, norm=None, keeps_norm=False)
        return case, {**refs, "x": refs["normed"]}
    if case.sum_eps is None:
        return case, refs
    return replace(case, sum_eps=None), {**refs, "x": refs["sum"]}


def _emit(b: PhaseBuilder, product: MatrixProduct, case: Product, refs: Mapping[str, Ref]) -> None:
    few = few_rows(b, product.value, product.weight)
    b.emit(label(product.node), "gemv" if few else "gemm", case, refs)


def matrix_dims(value: ir.Value) -> tuple[int, int]:
    """Rows and columns of a constant matrix."""
    assert value.shape is not None
    rows, columns = (int(as_expr(d)) for d in value.shape)
    return rows, columns
