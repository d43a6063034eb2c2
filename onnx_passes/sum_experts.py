"""Sums over experts  ->  products of chosen matrices (pocket.Experts), weighed and summed.

Exporters write out every expert: each makes an addend, which is weighed by its gate (mobius) or
scattered to the tokens that chose it (optimum); or one product with all matrices computes all, and
all but the chosen ones get the weight 0.
"""

import onnx_ir as ir

from onnx_passes.analysis.experts.copies import ChosenExperts, Copies
from onnx_passes.analysis.experts.emit import Choice, for_each, mixed
from onnx_passes.analysis.routing import Part, is_zero, part_of
from onnx_passes.ir.edit import Builder, drop_unused, replace
from onnx_passes.ir.graph import (
    attribute,
    dim,
    integers,
    needed,
    operand,
    other,
    producer,
    rank,
    through,
)
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply

IGNORED = ("Shape", "Slice")  # readers of a running sum that only ask for its size


def sum_experts(model: ir.Model) -> Outcome:
    """Replace every sum over experts."""
    outcome = apply(model, RULES)
    if outcome.misses:
        drop_unused(model)  # what was made until a copy differed
    return outcome


def _summed(_: ir.Model, node: ir.Node) -> bool:
    """A sum of what experts make, and perhaps of more."""
    if _within_sum(node.outputs[0]):
        return False
    addends = _addends(node)
    parts = [part_of(value) for value in addends]
    found = sorted((part for part in parts if part is not None), key=lambda part: part.expert)
    if len(found) < 2:
        return False
    rest = [v for v, part in zip(addends, parts, strict=True) if part is None and not is_zero(v)]
    choice = found[0].choice
    if any(part.choice != choice for part in found):
        raise Miss("experts that different routers chose are summed")
    if [part.expert for part in found] != list(range(len(found))):
        raise Miss("an expert is missing in the sum, or comes twice")
    b = Builder(node)
    chosen = ChosenExperts(b, len(found), choice.indices, _Leaves(b, found))
    y = mixed(b, chosen.of(tuple(part.output for part in found)), choice.gates)
    for value in rest:
        y = b.op("Add", y, value)
    replace(node, y)
    return True


class _Leaves:
    """What enters every expert: the same value, or the rows of one that chose the expert."""

    def __init__(self, b: Builder, parts: list[Part]) -> None:
        self.b, self.parts = b, parts

    def __call__(self, copies: Copies) -> ir.Value | None:
        """The value for all that are chosen, or None."""
        if self.parts[0].tokens is None:
            same = all(value is copies[0] for value in copies)
            return for_each(self.b, copies[0]) if same else None
        rows = [producer(through(value, "Reshape"), "Gather") for value in copies]
        for row, part in zip(rows, self.parts, strict=True):
            if row is None or operand(row, 1) is not part.tokens or not _is_of_rows(row):
                return None
        sources = {
            through(row.inputs[0], "Unsqueeze", "Reshape") for row in rows if row is not None
        }
        width = dim(copies[0], -1)
        source = sources.pop()
        if sources or source is None or width is None or dim(source, -1) != width:
            return None
        return for_each(self.b, self.b.op("Reshape", source, self.b.target(-1, width)))


def _is_of_rows(node: ir.Node) -> bool:
    """Whether a Gather chooses rows of [.., M, K]."""
    size = rank(node.inputs[0])
    return size is not None and attribute(node, "axis", 0) % size == size - 2


def _addends(node: ir.Node) -> list[ir.Value]:
    found: list[ir.Value] = []
    for value in node.inputs:
        inner = producer(value, "Add")
        if value is not None:
            found += _addends(inner) if inner is not None and _within_sum(value) else [value]
    return found


def _within_sum(value: ir.Value) -> bool:
    readers = [use.node for use in value.uses() if use.node.op_type not in IGNORED]
    return len(readers) == 1 and readers[0].op_type == "Add" and not value.is_graph_output()


def _all_computed(_: ir.Model, node: ir.Node) -> bool:
    """ReduceSum over experts of outputs [E, .., N] times scattered gates [E, .., 1]."""
    product = producer(operand(node, 0), "Mul")
    if product is None or integers(operand(node, 1)) != [0] or attribute(node, "keepdims", 1):
        return False
    for gates in product.inputs:
        choice = _scattered_gates(gates)
        if choice is None or gates is None:
            continue
        experts, b = dim(gates, 0), Builder(node)
        if experts is None:
            raise Miss("the number of experts is unknown")
        chosen = ChosenExperts(b, experts, choice.indices, _Tiled(b, experts))
        y = mixed(b, chosen.of((other(product, gates),)), choice.gates)
        dims = [d if isinstance(d, int) else -1 for d in node.outputs[0].shape or ()]
        if dims.count(-1) > 1 or not dims:
            raise Miss("the size of the sum is unknown")
        replace(node, b.op("Reshape", y, b.target(*dims)))
        return True
    return False


def _scattered_gates(value: ir.Value | None) -> Choice | None:
    """Gates [M, k] that are scattered into zeros [M, E], which are turned to [E, M]."""
    turned = producer(through(value, "Unsqueeze", "Reshape"), "Transpose")
    scatter = None if turned is None else producer(turned.inputs[0], "ScatterElements")
    if turned is None or scatter is None or attribute(turned, "perm") != [1, 0]:
        return None
    if attribute(scatter, "axis", 0) not in (1, -1) or not is_zero(scatter.inputs[0]):
        return None
    return Choice(needed(scatter, 1), needed(scatter, 2))


class _Tiled:
    """What enters experts that are computed together: rows [M, K], repeated for each of them."""

    def __init__(self, b: Builder, experts: int) -> None:
        self.b, self.experts = b, experts

    def __call__(self, copies: Copies) -> ir.Value | None:
        """The rows, or None."""
        (value,) = copies
        repeated = producer(through(value, "Reshape"), "Tile", "Expand")
        x = None if repeated is None else operand(repeated, 0)
        if x is None or value.shape is None or x.shape is None:
            return None
        if rank(x) != 2 or value.shape != ir.Shape([self.experts, *x.shape]):
            return None
        return for_each(self.b, x)


RULES: Rules = {
    ("", "Add"): _summed,
    ("", "ReduceSum"): _all_computed,
}
