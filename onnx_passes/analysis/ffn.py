"""Feed-forward networks: two products with constant matrices, and what is computed between them.

    h = act(x G + bg) * up_act(x U + bu)        or, without a gate, h = up_act(x U + bu)
    y = h D + bd

G and U may lie side by side as one matrix, of which a `pocket.Glu` takes the halves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnx_passes.ir.graph import (
    DOMAIN,
    dim,
    is_constant,
    is_op,
    linear,
    needed,
    operand,
    producer,
    rank,
    scalar,
    sole_use,
)
from onnx_passes.ir.rules import Miss, Missed
from opencl_kernels.map.functions import SCALAR_OPS

GATES = {"silu": "v * Sigmoid(v)", "relu": "Relu(v)"}  # of a Glu, by its overload
MOST_NODES = 24  # between the products
MOST_TEXT = 400  # of an activation


@dataclass(frozen=True)
class Columns:
    """`width` columns of a product's matrix [D, N], from `first` on."""

    product: ir.Node
    first: int
    width: int

    @property
    def weight(self) -> ir.Value:
        """The whole matrix."""
        return needed(self.product, 1)

    @property
    def bias(self) -> ir.Value | None:
        """Of all columns of the product."""
        return operand(self.product, 2)


@dataclass(frozen=True)
class Ffn:
    """One of them. Activations are expressions over v in the language of maps."""

    x: ir.Value
    gate: Columns | None
    up: Columns
    down: ir.Node  # its matrix is [F, D]
    act: str
    up_act: str
    between: tuple[ir.Node, ...]  # nodes from the products to `down`
    chosen: ir.Node | None = None  # the Above among them, by which neurons are computed
    entering: tuple[ir.Node, ...] = ()  # nodes that mask x
    tops: tuple[ir.Node, ...] = ()  # the TopMasks, of x and of h, or none

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All of it."""
        products = [each.product for each in self.columns]
        return (*self.entering, *dict.fromkeys(products), *self.between, self.down)

    @property
    def hidden(self) -> ir.Value:
        """What is between the products, [.., F]."""
        return needed(self.down, 0)

    @property
    def scores(self) -> ir.Value | None:
        """By which neurons are chosen, [.., F]."""
        return None if self.chosen is None else needed(self.chosen, 0)

    @property
    def width(self) -> int:
        """F: neurons."""
        return self.up.width

    @property
    def depth(self) -> int:
        """D: what x and y are wide."""
        return dim(needed(self.down, 1), 1) or 0

    @property
    def columns(self) -> tuple[Columns, ...]:
        """Those of its first products: gates, where there are any, and ups."""
        return tuple(each for each in (self.gate, self.up) if each is not None)

    @property
    def weights(self) -> tuple[ir.Value, ...]:
        """The matrices, each once: that of gates first, that of `down` last."""
        columns = [each.weight for each in self.columns]
        return tuple(dict.fromkeys((*columns, needed(self.down, 1))))


def find_ffns(model: ir.Model) -> tuple[list[Ffn], list[Missed]]:
    """Those of a graph after all fusions, in its order; and what began like one, and why it isn't.

    Matrices of chosen experts are none.
    """
    found, misses = list[Ffn](), list[Missed]()
    for node in model.graph:
        try:
            found += _ending_in(node)
        except Miss as miss:
            misses.append(Missed(node.op_type, node.name or node.outputs[0].name or "", str(miss)))
    return found, misses


def _ending_in(down: ir.Node) -> Iterator[Ffn]:
    """The network whose last product is this node, if there is one."""
    if not _multiplies(down):
        return
    hidden, masking = _unmasked(needed(down, 0))
    glu = hidden.producer()
    if glu is not None and is_op(glu, "Glu") and glu.domain == DOMAIN:
        yield _gated(down, glu, masking)
        return
    yield from _unmerged(down, hidden, masking)
    between = list[ir.Node]()
    product = _below(hidden, between)
    if product is not None and between:
        text = _text(hidden, product.outputs[0])
        yield _checked(down, None, _all_of(product), "v", text, [*between, *masking])


def _unmerged(down: ir.Node, hidden: ir.Value, masking: list[ir.Node]) -> Iterator[Ffn]:
    """act(gate) * up_act(up) of two products of one value."""
    node = hidden.producer()
    if node is None or not is_op(node, "Mul"):
        return
    between: tuple[list[ir.Node], list[ir.Node]] = ([], [])
    factors = [needed(node, i) for i in range(2)]
    sides = [_below(each, nodes) for each, nodes in zip(factors, between, strict=True)]
    found = [product for product in sides if product is not None]
    if len(set(found)) != 2 or found[0].inputs[0] is not found[1].inputs[0] or not any(between):
        return
    texts = [_text(f, p.outputs[0]) for f, p in zip(factors, found, strict=True)]
    up = texts.index("v") if "v" in texts else 1  # gates are what is activated
    products = _all_of(found[1 - up]), _all_of(found[up])
    nodes = [*between[0], *between[1], node, *masking]
    yield _checked(down, *products, texts[1 - up], texts[up], nodes)


def _all_of(product: ir.Node) -> Columns:
    return Columns(product, 0, dim(product.outputs[0], -1) or 0)


def _unmasked(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """What is masked, and the nodes that do it: a mask and a Mul; none where it isn't."""
    mul = producer(value, "Mul")
    for masked, mask in [] if mul is None else (mul.inputs, mul.inputs[::-1]):
        by = producer(mask, "Above", "TopMask")
        if mul is not None and masked is not None and by is not None:
            return masked, [by, mul]
    return value, []


def _gated(down: ir.Node, glu: ir.Node, masking: list[ir.Node]) -> Ffn:
    product = linear(needed(glu, 0))
    if product is None:
        raise Miss("gates and ups are no product with a constant matrix")
    if glu.overload not in GATES:
        raise Miss(f"its activation {glu.overload!r} is not known")
    width = dim(glu.outputs[0], -1) or 0
    gate, up = Columns(product, 0, width), Columns(product, width, width)
    return _checked(down, gate, up, GATES[glu.overload], "v", [glu, *masking])


def _checked(
    down: ir.Node,
    gate: Columns | None,
    up: Columns,
    act: str,
    up_act: str,
    between: list[ir.Node],
) -> Ffn:
    """A network of these parts, which nothing else reads and whose records are of one length."""
    x, entering = _unmasked(needed(up.product, 0))
    chosen = next((node for node in between if is_op(node, "Above")), None)
    tops = tuple(node for node in (*entering, *between) if is_op(node, "TopMask"))
    if len(tops) != (2 if entering else 0):
        raise Miss("what it reads is masked, and what it computes of that is not, or not so")
    found = Ffn(x, gate, up, down, act, up_act, tuple(between), chosen, tuple(entering), tops)
    inner = [each for each in found.nodes if each is not down]
    for node in inner:
        y = node.outputs[0]
        if y.is_graph_output() or any(use.node not in found.nodes for use in y.uses()):
            raise Miss(f"{y.name} is read elsewhere, too")
    for weight in found.weights:
        if sole_use(weight) is None:
            raise Miss(f"the matrix {weight.name} is used more than once")
    depths = {dim(up.weight, 0), dim(needed(down, 1), 1)}
    if len(depths) > 1 or None in depths:
        raise Miss("it gives rows of another width than it reads")
    if dim(needed(down, 1), 0) != found.width:
        raise Miss("its last product reads another width than the first gives")
    return found


def _multiplies(node: ir.Node) -> bool:
    """Whether it is a product of an activation with a constant matrix."""
    if not is_op(node, "MatMul", "Linear"):
        return False
    weight = operand(node, 1)
    return is_constant(weight) and rank(weight) == 2 and not is_constant(operand(node, 0))


def _below(value: ir.Value, between: list[ir.Node]) -> ir.Node | None:
    """The one product that a value is an elementwise function of; `between` gets the nodes."""
    products, front = set[ir.Node](), [value]
    while front and len(between) < MOST_NODES:
        node = front.pop().producer()
        if node is None:
            return None
        if _multiplies(node):
            products.add(node)
        elif _is_elementwise(node):
            if node not in between:
                between.append(node)
                front += [v for v in node.inputs if v is not None and scalar(v) is None]
        else:
            return None
    return products.pop() if len(products) == 1 and not front else None


def _is_elementwise(node: ir.Node) -> bool:
    """Of floats, with no operand but scalars and what has its shape."""
    op = SCALAR_OPS.get(node.op_type)
    if node.domain or op is None or node.attributes or len(node.inputs) != op.arity:
        return False
    width = dim(node.outputs[0], -1)
    return all(
        v is not None and (scalar(v) is not None or dim(v, -1) == width) for v in node.inputs
    )


def _text(value: ir.Value, product: ir.Value) -> str:
    """An elementwise function of a product as an expression over v."""
    if value is product:
        return "v"
    number = scalar(value)
    if number is not None:
        return repr(number)
    node = value.producer()
    assert node is not None
    operands = ", ".join(_text(needed(node, i), product) for i in range(len(node.inputs)))
    text = f"{node.op_type}({operands})"
    if len(text) > MOST_TEXT:
        raise Miss("its activation is too long for a kernel")
    return text
