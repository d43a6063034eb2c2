"""Elementwise ops: what operands read is joined in one expression."""

from dataclasses import replace

import onnx_ir as ir

from onnx_passes.ir.graph import attribute, needed, operand
from opencl_kernels.map.expression import KIND_OF
from opencl_kernels.map.functions import SCALAR_OPS
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.values import give, kind_of, storage_of, unknown_type
from toolkit.compiler.views.scalar import apply, number
from toolkit.compiler.views.view import View, broadcast, elementwise, expanded

OURS = ("Float", "Int", "Bool", "Fmod", "Within", "Identity", "Mod")  # have another meaning in ONNX
CASTS = {"float": "Float", "int": "Int", "bool": "Bool"}


def lower_elementwise(b: PhaseBuilder, node: ir.Node) -> None:
    """A function of SCALAR_OPS; Max, Min and Sum of more than two, one after the other."""
    y, op = node.outputs[0], node.op_type
    dtype = storage_of(b, y)
    values = [value for value in node.inputs if value is not None]

    def make(*views: View) -> View:
        if len(views) <= SCALAR_OPS[op].arity:
            return elementwise(op, views, dtype)
        first, *more = views
        for view in more:
            first = elementwise(op, [first, view], dtype)
        return first

    give(b, y, values, make)


def lower_mod(b: PhaseBuilder, node: ir.Node) -> None:
    """With the sign of the divisor, or of the dividend where fmod is set."""
    y, op = node.outputs[0], "Fmod" if attribute(node, "fmod", 0) else "Mod"
    values = [needed(node, i) for i in range(2)]
    give(b, y, values, lambda *views: elementwise(op, views, storage_of(b, y)))


def lower_cast(b: PhaseBuilder, node: ir.Node) -> None:
    """Another kind of element; of floats there is one."""
    y = node.outputs[0]
    dtype = storage_of(b, y)
    op = CASTS[KIND_OF[dtype]]
    give(b, y, [needed(node, 0)], lambda view: elementwise(op, [view], dtype))


def lower_clip(b: PhaseBuilder, node: ir.Node) -> None:
    """Max and Min with what is given."""
    y = node.outputs[0]
    dtype = storage_of(b, y)
    given = [(op, operand(node, i)) for op, i in (("Max", 1), ("Min", 2))]
    bounds = [(op, value) for op, value in given if value is not None]

    def make(x: View, *views: View) -> View:
        for (op, _), bound in zip(bounds, views, strict=True):
            x = elementwise(op, [x, bound], dtype)
        return x

    give(b, y, [needed(node, 0), *(value for _, value in bounds)], make)


def lower_where(b: PhaseBuilder, node: ir.Node) -> None:
    """One of two by a condition; what is not chosen is not read."""
    y = node.outputs[0]

    def make(*views: View) -> View:
        shape = broadcast([view.shape for view in views])
        parts = [expanded(view, shape) for view in views]
        return View(
            shape, storage_of(b, y), lambda at: apply("Where", *(part.read(at) for part in parts))
        )

    give(b, y, [needed(node, i) for i in range(3)], make)


def check_elementwise(node: ir.Node, _: str) -> str | None:
    """Whether there is the function for this kind of elements."""
    values = [value for value in node.inputs if value is not None]
    unknown = next(filter(None, map(unknown_type, (*values, *node.outputs))), None)
    if unknown is not None:
        return unknown
    op = SCALAR_OPS.get(node.op_type)
    kind = kind_of(values[-1]) if values else "float"
    if op is not None and node.op_type not in OURS and kind not in op.operands:
        return f"it is not computed for elements of kind {kind}"
    return None


def lower_softplus(b: PhaseBuilder, node: ir.Node) -> None:
    """log(1 + exp(x)), without overflow: max(x, 0) + log(1 + exp(-|x|))."""
    y = node.outputs[0]
    dtype = storage_of(b, y)

    def make(x: View) -> View:
        def read(at):  # type: ignore[no-untyped-def]
            v = x.read(at)
            small = apply("Exp", apply("Neg", apply("Abs", v)))
            return apply(
                "Add", apply("Max", v, number(0.0)), apply("Log", apply("Add", number(1.0), small))
            )

        return View(x.shape, dtype, read)

    give(b, y, [needed(node, 0)], make)


_ALL = (
    *(
        Lowering("", name, lower_elementwise, check_elementwise)
        for name in SCALAR_OPS
        if name not in OURS and name != "Where"
    ),
    Lowering("", "Mod", lower_mod, check_elementwise),
    Lowering("", "Cast", lower_cast, check_elementwise),
    Lowering("", "CastLike", lower_cast, check_elementwise),
    Lowering("", "Clip", lower_clip, check_elementwise),
    Lowering("", "Where", lower_where, check_elementwise),
    Lowering("", "Softplus", lower_softplus, check_elementwise),
)
ELEMENTS = tuple(replace(each, joins=True) for each in _ALL)
