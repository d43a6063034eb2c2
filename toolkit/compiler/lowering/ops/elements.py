"""Elementwise ops: what operands read is joined in one expression."""

import math
from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnx_passes.ir.graph import attribute, needed, operand, scalar
from opencl_kernels.map.expression import KIND_OF
from opencl_kernels.map.functions import SCALAR_OPS
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.values import give, kind_of, storage_of
from toolkit.compiler.views.scalar import Scalar, number
from toolkit.compiler.views.simplify import apply
from toolkit.compiler.views.view import At, View, broadcast, elementwise, expanded

# They have another meaning in ONNX, or a lowering of their own.
OURS = ("Float", "Int", "Int32", "Bool", "Fmod", "Within", "Identity", "Mod", "Pow", "Where")
CASTS = {"float": "Float", "int": "Int", "bool": "Bool"}
MOST_FACTORS = 8  # of a power of integers
GROWING = ("Add", "Sub", "Mul", "Neg", "Abs")  # what they make of 32 bits may take more


def lower_elementwise(b: PhaseBuilder, node: ir.Node) -> None:
    """A function of SCALAR_OPS; Max, Min and Sum of more than two, one after the other."""
    y, op = node.outputs[0], node.op_type
    dtype = storage_of(b, y)
    values = [value for value in node.inputs if value is not None]

    def make(*views: View) -> View:
        if len(views) == SCALAR_OPS[op].arity:
            return _of_type(op, views, dtype)
        first, *more = views
        for view in more:
            first = _of_type(op, [first, view], dtype)
        return first

    give(b, y, values, make)


def _of_type(op: str, operands: Sequence[View], dtype: str) -> View:
    """A function of elements, in the bits that the type has."""
    found = elementwise(op, operands, dtype)
    return elementwise("Int32", [found], dtype) if dtype == "i32" and op in GROWING else found


def lower_pow(b: PhaseBuilder, node: ir.Node) -> None:
    """Of floats; of integers where the exponent is a small number."""
    y, x, exponent = node.outputs[0], needed(node, 0), needed(node, 1)
    dtype = storage_of(b, y)
    if KIND_OF[dtype] == "int":
        count = int(scalar(exponent) or 0)

        def repeated(base: View) -> View:
            power = base
            for _ in range(count - 1):
                power = _of_type("Mul", [power, base], dtype)
            return power

        give(b, y, [x], repeated)
        return

    def make(base: View, power: View) -> View:
        return elementwise("Pow", [base, elementwise("Float", [power], dtype)], dtype)

    give(b, y, [x, exponent], make)


def check_pow(node: ir.Node, tokens: str) -> str | None:
    """A power of an integer is a product."""
    x, exponent = needed(node, 0), needed(node, 1)
    if x.dtype is not None and x.dtype.is_floating_point():
        return None
    power = scalar(exponent)
    small = power is not None and power == int(power) and 1 <= power <= MOST_FACTORS
    return None if small else f"only powers 1 to {MOST_FACTORS} of integers are computed"


def lower_is_inf(b: PhaseBuilder, node: ir.Node) -> None:
    """Infinities of either sign, or of one."""
    y, found = node.outputs[0], list[float]()
    for name, infinity in (("detect_positive", math.inf), ("detect_negative", -math.inf)):
        if attribute(node, name, 1):
            found.append(infinity)

    def make(x: View) -> View:
        def read(at: At) -> Scalar:
            answer = number(False)
            for infinity in found:
                answer = apply("Or", apply("Equal", x.read(at), number(infinity)), answer)
            return answer

        return View(x.shape, storage_of(b, y), read)

    give(b, y, [needed(node, 0)], make)


def lower_mod(b: PhaseBuilder, node: ir.Node) -> None:
    """With the sign of the divisor, or of the dividend where fmod is set."""
    y, op = node.outputs[0], "Fmod" if attribute(node, "fmod", 0) else "Mod"
    values = [needed(node, i) for i in range(2)]
    give(b, y, values, lambda *views: elementwise(op, views, storage_of(b, y)))


def check_mod(node: ir.Node, tokens: str) -> str | None:
    """Of floats as C has it only."""
    x = needed(node, 0)
    floats = x.dtype is not None and x.dtype.is_floating_point()
    if floats and not attribute(node, "fmod", 0):
        return "of floats only the remainder with the sign of the dividend is computed"
    return check_elementwise(node, tokens)


def lower_cast(b: PhaseBuilder, node: ir.Node) -> None:
    """Another kind of element, or fewer bits of an integer; of floats there is one."""
    x, y = needed(node, 0), node.outputs[0]
    dtype = storage_of(b, y)

    def make(view: View) -> View:
        found = elementwise(CASTS[KIND_OF[dtype]], [view], dtype)
        narrowed = dtype == "i32" and x.dtype != ir.DataType.INT32 and view.kind != "bool"
        return elementwise("Int32", [found], dtype) if narrowed else found

    give(b, y, [x], make)


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
        def read(at: At) -> Scalar:
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
        if name not in (*OURS, "IsInf")
    ),
    Lowering("", "Mod", lower_mod, check_mod),
    Lowering("", "Pow", lower_pow, check_pow),
    Lowering("", "IsInf", lower_is_inf, check_elementwise),
    Lowering("", "Cast", lower_cast, check_elementwise),
    Lowering("", "CastLike", lower_cast, check_elementwise),
    Lowering("", "Clip", lower_clip, check_elementwise),
    Lowering("", "Where", lower_where, check_elementwise),
    Lowering("", "Softplus", lower_softplus, check_elementwise),
)
ELEMENTS = tuple(replace(each, joins=True) for each in _ALL)
