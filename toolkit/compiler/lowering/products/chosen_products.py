"""Dispatches of products whose matrix is chosen for each row: of few rows, or gathered."""

from collections.abc import Mapping
from dataclasses import replace

from onnx_passes.ir.graph import needed, operand
from opencl_kernels.experts.chosen import Chosen, Mix
from opencl_kernels.formats import STRIP, padded
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import ChosenProduct
from toolkit.compiler.lowering.products.fused import are_few
from toolkit.compiler.lowering.products.matrix_products import Ending, matrix_dims
from toolkit.compiler.lowering.records.experts import emit_in_slots, tabled_experts
from toolkit.plan.schema import Ref


def emit_chosen(
    b: PhaseBuilder,
    product: ChosenProduct,
    into: Location,
    ending: Ending | None = None,
    mix: Mix | None = None,
) -> None:
    """One dispatch, or one for each slice of the experts' matrices that is split over files."""
    case, refs = _product(product, into, ending or Ending())
    case = replace(case, w=b.weights.stored(product.weight), mix=mix)
    family = "experts" if takes_few(b, product) else "experts_gemm"
    tabled = tabled_experts(b, product.node)
    if tabled is not None:
        if case.bias:
            refs["bias"] = b.weights.vector(needed(product.node, 3))
        emit_in_slots(b, tabled, product.node, label(product.node), family, case, refs)
        return
    slices = b.weights.experts(product.weight, product.experts, case.glu is not None)
    high = padded(case.N, STRIP)
    for piece in slices:
        first, count = piece.first // high, piece.count // high
        each = replace(case, E=count)
        if len(slices) > 1:
            each = replace(each, E0=first, experts=product.experts)
        if case.bias:
            refs["bias"] = b.weights.vector(needed(product.node, 3), first, count)
        b.emit(label(product.node), family, each, {**refs, **piece.refs})


def takes_few(b: PhaseBuilder, product: ChosenProduct) -> bool:
    """Whether the rows of a product are multiplied one by one."""
    return are_few(b, product.tokens, product.weight)


def _product(
    product: ChosenProduct, into: Location, ending: Ending
) -> tuple[Chosen, dict[str, Ref]]:
    """Case and arguments of a product, except those of its weight."""
    case = Chosen(
        M=product.tokens,
        choices=product.choices,
        E=product.experts,
        N=product.width if ending.glu is None else 2 * padded(ending.glu.F),
        K=matrix_dims(product.weight)[0],
        shared=product.shared,
        x=product.x.dtype,
        y=into.dtype,
        index=product.indices.dtype,
        always=product.always,
        bias=operand(product.node, 3) is not None and ending.glu is None,
        glu=ending.glu,
        epilogue=ending.epilogue,
        inputs=ending.inputs,
    )
    refs: Mapping[str, Ref] = {"x": product.x.ref, "indices": product.indices.ref}
    return case, {**refs, **ending.refs, "y": into.ref}
