"""Numbers that follow from sizes become functions of the counters: nothing asks a tensor its shape.

A Range counts positions, new ones or all; what an Expand or a ConstantOfShape fills is spread over
tokens by their number; a Slice from one place on gathers by positions; and a size that something
computes with is `a past + b seq + c`; or, where that is the length of the text, all that it will
have: a text is fed in chunks.
"""

import onnx_ir as ir
import sympy

from onnx_passes.analysis.counted import counted
from onnx_passes.analysis.roles import roles_of
from onnx_passes.analysis.tables.regimes import text_length
from onnx_passes.ir.dims import as_dim, as_expr, parse, symbolic_value
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import places
from onnx_passes.ir.graph import DOMAIN, attribute, integers, is_constant, needed, operand, rank
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply
from onnx_passes.ir.shapes.slice_rule import from_front

PAST, SEQ = parse("past"), parse("seq")
_CODES = {SEQ: -1, PAST + SEQ: -2, PAST: -3}  # as `pocket.Spread` writes these sizes


def count_sizes(model: ir.Model) -> Outcome:
    """Replace what makes tensors of sizes; then the sizes that are left."""
    first, second = apply(model, RULES), _count_numbers(model)
    return Outcome(first.rewrites + second, first.misses)


def _range(model: ir.Model, node: ir.Node) -> bool:
    start, stop, step = (symbolic_value(needed(node, i)) for i in range(3))
    if not start or not stop or step != [1]:
        raise Miss("what it counts is not known")
    b = Builder(node)
    replace(node, _counted(model, b, start[0], stop[0], needed(node, 0).dtype))
    return True


def _counted(
    model: ir.Model, b: Builder, start: sympy.Expr, stop: sympy.Expr, dtype: ir.DataType | None
) -> ir.Value:
    """start, start + 1 ... stop - 1 [seq or past + seq]."""
    ops = {SEQ: ("Positions", PAST), PAST + SEQ: ("KeyPositions", sympy.Integer(0))}
    if (stop - start) not in ops:
        raise Miss(f"it counts from {start} to {stop}, which is neither new tokens nor all")
    op, first = ops[stop - start]
    counted = b.op(op, *places(model, b, roles_of(model).tokens, False), domain=DOMAIN)
    flat = b.op("Reshape", counted, b.target(-1))
    if start != first:
        flat = b.op("Add", flat, _extent(model, b, start - first))
    return flat if dtype in (None, ir.DataType.INT64) else b.op("Cast", flat, to=int(dtype))


def _extent(model: ir.Model, b: Builder, size: sympy.Expr) -> ir.Value:
    """The number [1]."""
    numbers = sympy.Poly(size, PAST, SEQ)
    factors = [numbers.coeff_monomial(m) for m in (PAST, SEQ, 1)]
    if numbers.total_degree() > 1 or not all(f.is_Integer for f in factors):
        raise Miss(f"{size} is no sum of sizes")
    x, past, _ = places(model, b, roles_of(model).tokens, True)
    a, s, c = map(int, factors)
    return b.op("Extent", x, past, domain=DOMAIN, a=a, b=s, c=c)


def _expand(model: ir.Model, node: ir.Node) -> bool:
    if is_constant(operand(node, 1)):
        return False
    return _spread(model, node, needed(node, 0))


def _filled(model: ir.Model, node: ir.Node) -> bool:
    b, tensor = Builder(node), attribute(node, "value")
    zero = ir.tensor([0.0], dtype=ir.DataType.FLOAT)
    return _spread(model, node, b.constant((zero if tensor is None else tensor).numpy()))


def _spread(model: ir.Model, node: ir.Node, value: ir.Value) -> bool:
    sizes = [as_expr(d) for d in node.outputs[0].shape or () if isinstance(d, int) or d.value]
    codes = [int(e) if e.is_Integer else _CODES.get(e) for e in sizes]
    if len(codes) != rank(node.outputs[0]) or None in codes:
        raise Miss(f"its shape {node.outputs[0].shape} is no fixed one for each token")
    b = Builder(node)
    x, past, _ = places(model, b, roles_of(model).tokens, True)
    replace(node, b.op("Spread", value, x, past, domain=DOMAIN, shape=codes))
    return True


def _slice(model: ir.Model, node: ir.Node) -> bool:
    """Along one axis, forward, from a place that moves with the text."""
    starts, steps = operand(node, 1), symbolic_value(operand(node, 4)) if operand(node, 4) else [1]
    if is_constant(starts) and is_constant(operand(node, 2)):
        return False
    start, axes = symbolic_value(starts), integers(operand(node, 3))
    source = needed(node, 0)
    if not start or len(start) != 1 or steps != [1] or axes is None or source.shape is None:
        raise Miss("where it begins is not known")
    axis = axes[0] % source.shape.rank()
    size = None if node.outputs[0].shape is None else node.outputs[0].shape[axis]
    if size is None or (not isinstance(size, int) and size.value is None):
        raise Miss("how much it takes is not known")
    begin = from_front(as_dim(start[0]), as_expr(source.shape[axis]))
    if begin is None:
        raise Miss(f"it may begin on either side of {start[0]}")
    b = Builder(node)
    index = _counted(model, b, begin, sympy.expand(begin + as_expr(size)), None)
    replace(node, b.op("Gather", source, index, axis=axis))
    return True


def _count_numbers(model: ir.Model) -> int:
    """Sizes that something computes with; those that only make other sizes go with these."""
    count, known = 0, counted(model)
    for node in list(model.graph):
        value = node.outputs[0]
        size = symbolic_value(value) if node.domain != DOMAIN and rank(value) in (0, 1) else None
        if not size or len(size) != 1 or size[0].is_Integer or not _is_computed_with(value):
            continue
        b, whole = Builder(node), size[0] == PAST + SEQ and not _is_of_keys(value, known)
        try:
            number = text_length(model, b) if whole else _extent(model, b, size[0])
        except Miss:
            continue
        if rank(value) == 0:
            number = b.op("Squeeze", number)
        if value.dtype not in (None, ir.DataType.INT64):
            number = b.op("Cast", number, to=int(value.dtype))
        replace(node, number)
        count += 1
    return count


def _is_of_keys(value: ir.Value, known: set[ir.Value]) -> bool:
    """Whether places of all tokens so far follow from their number, as in a mask."""
    front, seen = [value], {value}
    while front:
        value = front.pop()
        if "past + seq" in map(str, value.shape or ()):
            return True
        made = {output for use in value.uses() for output in use.node.outputs}
        front += (made & known) - seen
        seen |= made
    return False


def _is_computed_with(value: ir.Value) -> bool:
    readers = [use.node for use in value.uses()]
    return any(symbolic_value(reader.outputs[0]) is None for reader in readers)


RULES: Rules = {
    ("", "Range"): _range,
    ("", "Expand"): _expand,
    ("", "ConstantOfShape"): _filled,
    ("", "Slice"): _slice,
}
