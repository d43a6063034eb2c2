"""What is filled with numbers: around data, beside a diagonal, all of it, and what is counted."""

from dataclasses import replace

import onnx_ir as ir

from onnx_passes.ir.dims import symbolic_value
from onnx_passes.ir.graph import attribute, integers, needed, operand, rank
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.values import as_poly, give, shape_of, storage_of, view_of
from toolkit.compiler.views.poly import Poly, poly
from toolkit.compiler.views.scalar import Index, Scalar, number
from toolkit.compiler.views.simplify import apply
from toolkit.compiler.views.view import At, View


def lower_pad(b: PhaseBuilder, node: ir.Node) -> None:
    """A constant around the data."""
    x, fill, y = needed(node, 0), operand(node, 2), node.outputs[0]
    pads, axes = _pads(b, node)
    outside = None if fill is None else view_of(b, fill)
    ranks = 0 if outside is None else len(outside.shape)  # some exporters write [1]

    def make(data: View) -> View:
        kind = {"float": 0.0, "int": 0, "bool": False}[data.kind]

        def read(at: At) -> Scalar:
            inside, own = number(True), list(at)
            for axis, before in zip(axes, pads, strict=False):
                own[axis] = at[axis] - before
                place, size = Index(own[axis]), Index(data.shape[axis])
                reached = apply("GreaterOrEqual", place, number(0))
                inside = apply("And", inside, apply("And", reached, apply("Less", place, size)))
            other = number(kind) if outside is None else outside.read([poly(0)] * ranks)
            return apply("Where", inside, data.read(own), other)

        return View(shape_of(b, y), data.dtype, read)

    give(b, y, [x], make)


def _pads(b: PhaseBuilder, node: ir.Node) -> tuple[list[Poly], list[int]]:
    """What is added before each axis, and the axes."""
    sizes, ranks = symbolic_value(operand(node, 1)) or [], rank(needed(node, 0)) or 0
    pads = [as_poly(b, size.xreplace(dict(b.at))) for size in sizes]
    given = operand(node, 3)
    axes = list(range(ranks)) if given is None else [a % ranks for a in integers(given) or []]
    return pads[: len(axes)], axes


def check_pad(node: ir.Node, _: str) -> str | None:
    """Only a constant is added around, and how much is known."""
    if attribute(node, "mode", "constant") != "constant":
        return "only constants can be added around"
    known = symbolic_value(operand(node, 1)) is not None
    return None if known else "how much is added depends on the data"


def lower_range(b: PhaseBuilder, node: ir.Node) -> None:
    """start + i * step."""
    y = node.outputs[0]

    def make(start: View, _: View, step: View) -> View:
        def read(at: At) -> Scalar:
            place = Index(at[0])
            counted = place if step.kind == "int" else apply("Float", place)
            return apply("Add", start.read([]), apply("Mul", counted, step.read([])))

        return View(shape_of(b, y), storage_of(b, y), read)

    give(b, y, [needed(node, i) for i in range(3)], make)


def lower_filled(b: PhaseBuilder, node: ir.Node) -> None:
    """ConstantOfShape: one number everywhere."""
    y, given = node.outputs[0], node.attributes.get("value")
    value = 0.0 if given is None else given.as_tensor().numpy().reshape(-1)[0]
    b.views[y] = View(shape_of(b, y), storage_of(b, y), lambda _: number(value))


def lower_trilu(b: PhaseBuilder, node: ir.Node) -> None:
    """The upper or lower triangle of matrices; zero elsewhere."""
    x, k, upper = needed(node, 0), operand(node, 1), attribute(node, "upper", 1)
    shift = 0 if k is None else (integers(k) or [0])[0]

    def make(data: View) -> View:
        zero = number({"float": 0.0, "int": 0, "bool": False}[data.kind])

        def read(at: At) -> Scalar:
            row, column = Index(at[-2] + shift), Index(at[-1])
            kept = apply("GreaterOrEqual" if upper else "LessOrEqual", column, row)
            return apply("Where", kept, data.read(at), zero)

        return View(data.shape, data.dtype, read)

    give(b, node.outputs[0], [x], make)


def check_trilu(node: ir.Node, _: str) -> str | None:
    """Where the diagonal lies is known."""
    given = operand(node, 1)
    return None if given is None or integers(given) else "its diagonal is computed"


_ALL = (
    Lowering("", "Pad", lower_pad, check_pad),
    Lowering("", "Range", lower_range),
    Lowering("", "ConstantOfShape", lower_filled),
    Lowering("", "Trilu", lower_trilu, check_trilu),
)
FILLED = tuple(replace(each, joins=True) for each in _ALL)
