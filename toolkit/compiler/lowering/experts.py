"""Products whose matrix is chosen for each row, with the gated unit that reads them."""

from dataclasses import replace

import onnx_ir as ir
import sympy

from onnx_passes.ir.graph import DOMAIN, attribute, is_constant, needed, operand, rank, sole_use
from opencl_kernels.experts.experts import Chosen
from opencl_kernels.formats import STRIP, padded
from opencl_kernels.matmul.glu import Glu
from toolkit.compiler.lowering.builder import PhaseBuilder, label
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.products.matrix_products import matrix_dims
from toolkit.compiler.lowering.values import stored
from toolkit.plan.schema import Ref


def lower_experts(b: PhaseBuilder, node: ir.Node) -> None:
    """One dispatch, or one for each slice of the experts' matrices that is split over files."""
    x, weight, indices = (needed(node, i) for i in range(3))
    experts, glu = attribute(node, "experts"), _unit(node)
    source, chosen = stored(b, x), stored(b, indices)
    into = b.output(node.outputs[0] if glu is None else glu.outputs[0])
    b.done |= set() if glu is None else {glu}
    tokens, choices = _choices(b, indices)
    K, columns = matrix_dims(weight)
    width = columns // experts
    case = Chosen(
        M=tokens,
        choices=choices,
        E=experts,
        N=width,
        K=K,
        shared=b.rows(x) != tokens * choices,
        x=source.dtype,
        y=into.dtype,
        index=chosen.dtype,
        w=b.weights.stored(weight),
        bias=operand(node, 3) is not None,
    )
    if glu is not None:
        interleaved = 2 * padded(width // 2)
        case = replace(case, N=interleaved, glu=Glu(width // 2, glu.overload))
    refs: dict[str, Ref] = {"x": source.ref, "indices": chosen.ref, "y": into.ref}
    slices, high = b.weights.experts(weight, experts, glu is not None), padded(case.N, STRIP)
    for piece in slices:
        first, count = piece.first // high, piece.count // high
        each = replace(case, E=count)
        if len(slices) > 1:
            each = replace(each, E0=first, experts=experts)
        if case.bias:
            refs["bias"] = b.weights.vector(needed(node, 3), first, count)
        b.emit(label(node), "experts", each, {**refs, **piece.refs})


def _unit(node: ir.Node) -> ir.Node | None:
    """The Glu that is the only reader of products without biases."""
    glu = sole_use(node.outputs[0], "Glu")
    return glu if operand(node, 3) is None else None


def _choices(b: PhaseBuilder, indices: ir.Value) -> tuple[sympy.Expr, int]:
    """Tokens, and experts of each; where their number is no number, each is a token's only one."""
    *outer, last = b.dims(indices)
    whole = sympy.prod(outer)
    return (whole, int(last)) if last.is_Integer else (whole * last, 1)


def check_experts(node: ir.Node, _: str) -> str | None:
    """Matrices must be constant."""
    weight = needed(node, 1)
    known = is_constant(weight) and rank(weight) == 2
    return None if known else "only products with constant matrices of experts have a kernel"


EXPERTS = (Lowering(DOMAIN, "Experts", lower_experts, check_experts),)
