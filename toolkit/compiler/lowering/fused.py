"""What is fused into a product: the norm before it, the gated unit or residual sum after it."""

from collections.abc import Iterator

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN, is_constant, needed, operand, sole_use
from toolkit.compiler.lowering.builder import Location, PendingNorm, PhaseBuilder


def leave_to_products(b: PhaseBuilder, y: ir.Value, norm: PendingNorm) -> bool:
    """Fuse a norm into its readers if all are products of few rows; whether that was done."""
    nodes = [use.node for use in y.uses()]
    if norm.x.last_rows and not has_all_rows(b, y):
        return False
    products = all(is_product(n) and n.inputs[0] is y for n in nodes)
    if not products or y.is_graph_output():
        return False
    if not all(few_rows(b, y, needed(n, 1)) for n in nodes):
        return False
    b.norms[y] = norm
    return True


def few_rows(b: PhaseBuilder, y: ir.Value, weight: ir.Value) -> bool:
    """Whether the product of `weight` with as many rows as `y` is a GEMV."""
    rows, device_class = b.rows(y), b.settings.device_class
    quantized = b.weights.stored(weight).bits
    most = device_class.few_rows_quantized if quantized else device_class.few_rows
    return bool(rows.is_Integer and int(rows) <= most)


def residual(b: PhaseBuilder, node: ir.Node) -> tuple[Location, ir.Value] | None:
    """The location that a product is added to, and the value of the sum.

    None unless an AddRmsNorm is the only reader of the product: then the product computes the sum,
    and the AddRmsNorm only its norm.
    """
    # the AddRmsNorm reads the product, or all of its last rows
    value = node.outputs[0]
    rows = sole_use(value, "LastRows")
    if rows is not None and has_all_rows(b, rows.outputs[0]):
        value = rows.outputs[0]
    add = sole_use(value, "AddRmsNorm")
    if add is None or add.inputs[0] is add.inputs[1] or not has_all_rows(b, needed(add, 0)):
        return None
    # the other summand must be computed already, in the type of the sum
    other = next(v for v in add.inputs[:2] if v is not value)
    known = (b.locations[source] for source in _views(other) if source in b.locations)
    location = next(known, None)
    if location is None or location.dtype != b.settings.activations:
        return None
    b.summed.add(add)
    b.done |= {rows} if rows is not None else set()
    return location, add.outputs[0]


def _views(value: ir.Value | None) -> Iterator[ir.Value]:
    """The value, and the values that it is the last rows of."""
    while value is not None:
        yield value
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type == "LastRows" else None


def has_all_rows(b: PhaseBuilder, value: ir.Value) -> bool:
    """Whether a value that may be last rows has, in this phase, all rows of its source."""
    first = list(_views(value))[-1]
    return bool(b.rows(first) == b.rows(value))


def gated_unit(product: ir.Node) -> ir.Node | None:
    """The Glu that is the only reader of a product of gates and ups.

    Not where they have biases: an interleaved weight has no place for these.
    """
    glu = sole_use(product.outputs[0], "Glu")
    biased = operand(product, 2) is not None
    return glu if glu is not None and glu.domain == DOMAIN and not biased else None


def is_product(node: ir.Node | None) -> bool:
    """Whether a node is a matmul with a constant matrix."""
    if node is None or node.op_type not in ("MatMul", "Linear"):
        return False
    weight = needed(node, 1)
    return is_constant(weight) and weight.shape is not None and weight.shape.rank() == 2
