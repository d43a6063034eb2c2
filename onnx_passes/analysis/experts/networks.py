"""Networks of experts: two products whose matrices a router chooses, and what is between them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnx_passes.analysis.experts.units import MOVED
from onnx_passes.ir.graph import (
    DOMAIN,
    attribute,
    dim,
    is_constant,
    is_op,
    needed,
    operand,
    sole_use,
    through,
)
from onnx_passes.ir.rules import Miss, Missed

MOST_NODES = 32  # between the products


@dataclass(frozen=True)
class ExpertNetwork:
    """One of them: `pocket.Experts` twice, of the same experts of the same tokens."""

    first: ir.Node
    last: ir.Node

    @property
    def experts(self) -> int:
        """E."""
        return int(attribute(self.first, "experts"))

    @property
    def products(self) -> tuple[ir.Node, ir.Node]:
        """In their order."""
        return self.first, self.last

    @property
    def width(self) -> int:
        """F: hidden units of an expert."""
        return dim(needed(self.last, 1), 0) or 0

    @property
    def gated(self) -> bool:
        """Whether the first product gives gates and ups, as many as there are hidden units."""
        return (dim(needed(self.first, 1), 1) or 0) == 2 * self.width * self.experts

    @property
    def weights(self) -> tuple[ir.Value, ir.Value]:
        """The matrices of all experts side by side: [D, E * N], [F, E * D]."""
        return needed(self.first, 1), needed(self.last, 1)


def find_expert_networks(model: ir.Model) -> tuple[list[ExpertNetwork], list[Missed]]:
    """Those of a graph after all fusions, in its order; and products of experts that belong to
    none, and why."""
    found, misses, known = list[ExpertNetwork](), list[Missed](), set[ir.Node]()
    for node in (each for each in model.graph if _chooses(each)):
        try:
            network = _ending_in(node)
        except Miss as miss:
            misses.append(Missed(node.op_type, node.name or node.outputs[0].name or "", str(miss)))
            continue
        if network is not None:
            found.append(network)
            known |= {*network.products}
    alone = (node for node in model.graph if _chooses(node) and node not in known)
    told = {miss.node for miss in misses}
    for node in alone:
        name = node.name or node.outputs[0].name or ""
        if name not in told:
            misses.append(Missed(node.op_type, name, "no other product of its experts reads it"))
    return found, misses


def _chooses(node: ir.Node) -> bool:
    return is_op(node, "Experts") and node.domain == DOMAIN


def _ending_in(last: ir.Node) -> ExpertNetwork | None:
    """The network whose last product is this node; None where it is a first one."""
    first = _below(needed(last, 0), _router(last))
    if first is None:
        return None
    found = ExpertNetwork(first, last)
    if attribute(first, "experts") != attribute(last, "experts"):
        raise Miss("its two products are of different numbers of experts")
    for weight in found.weights:
        if not is_constant(weight) or sole_use(weight) is None:
            raise Miss(f"the matrices {weight.name} are not constant, or used more than once")
    if found.width == 0 or (dim(found.weights[0], 1) or 0) % found.experts:
        raise Miss("its sizes are not known")
    if found.gated and not _pairs(first):
        raise Miss("what its first products compute is not read as gates and ups, or not only so")
    return found


def _pairs(first: ir.Node) -> bool:
    """Whether a unit of gates and ups is all that reads its products."""
    readers = [use.node for use in first.outputs[0].uses()]
    while len(readers) == 1 and readers[0].op_type in MOVED:
        readers = [use.node for use in readers[0].outputs[0].uses()]
    return len(readers) == 1 and is_op(readers[0], "Glu")


def _router(product: ir.Node) -> ir.Value:
    """What says which experts it takes."""
    found = through(operand(product, 2), *MOVED)
    assert found is not None
    return found


def _below(value: ir.Value, router: ir.Value) -> ir.Node | None:
    """The one product of the same choice that a value is computed of, and of constants."""
    found, front, seen = set[ir.Node](), [value], set[ir.Node]()
    while front:
        each = front.pop()
        node = each.producer()
        if node is None or node in seen or through(each, *MOVED) is router:
            continue
        seen.add(node)
        if len(seen) > MOST_NODES:
            return None
        if not _chooses(node):
            front += [v for v in node.inputs if v is not None and not is_constant(v)]
        elif _router(node) is router:
            found.add(node)
    if len(found) > 1:
        raise Miss("it reads several products of the same experts")
    return found.pop() if found else None
