"""What every expert computes, written once for the experts that are chosen.

Exporters write the same computation for each expert, E copies that differ in their weights, or one
of which all operands have an axis of experts. Either is walked from its end to what enters it, and
its nodes are made anew: products take the matrices of the chosen experts (`pocket.Experts`), what
stands between them works on [.., k, N] as it did on [.., N].
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.experts.emit import Matrices, products
from onnx_passes.ir.edit import Builder, add_tensor, unique_name
from onnx_passes.ir.graph import attribute, constant, dim, integers, is_constant, operand, rank
from onnx_passes.ir.rules import Miss
from onnx_passes.weights.concat import side_by_side
from onnx_passes.weights.picked import SideBySide

Copies = tuple[ir.Value, ...]  # one for each expert, or one for all
Leaf = Callable[[Copies], ir.Value | None]

ELEMENTWISE = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Clip", "Sigmoid", "Relu", "Tanh", "Erf"),
    *("Gelu", "FastGelu", "Swish", "Softplus", "Neg", "Exp", "Abs", "Cast", "Identity"),
)


class ChosenExperts:
    """Makes nodes for the chosen experts; `leaf` says what stands for what enters the copies."""

    def __init__(self, b: Builder, experts: int, indices: ir.Value, leaf: Leaf) -> None:
        self.b, self.experts, self.indices, self.leaf = b, experts, indices, leaf
        self.made: dict[Copies, ir.Value] = {}

    def of(self, copies: Copies) -> ir.Value:
        """[.., k, N], or [.., 1, N], for these; raises Miss where they are not copies."""
        if copies not in self.made:
            found = self.leaf(copies)
            self.made[copies] = self._made(copies) if found is None else found
        return self.made[copies]

    def _made(self, copies: Copies) -> ir.Value:
        nodes = [value.producer() for value in copies]
        first = nodes[0]
        if first is None or any(not _alike(node, first) for node in nodes):
            raise Miss("the experts do not compute the same")
        found = [node for node in nodes if node is not None]
        kind = first.op_type
        if kind == "MatMul":
            return self._product(found)
        if kind == "Reshape" and dim(copies[0], -1) == dim(first.inputs[0], -1) is not None:
            return self.of(_operands(found, 0))
        if kind in ("Split", "Slice") and self._is_along_last(first):
            return self._part(found, copies)
        if kind not in ELEMENTWISE:
            raise Miss(f"between an expert's products stands {kind}")
        return self._biased(found) or self._elementwise(found)

    def _product(self, nodes: list[ir.Node]) -> ir.Value:
        weights = _operands(nodes, 1)
        x = self.of(_operands(nodes, 0))
        return products(self.b, x, Matrices(self.experts, self._weight(weights)), self.indices)

    def _weight(self, weights: Copies) -> ir.Value:
        """The experts' matrices side by side."""
        tensors = [value.const_value for value in weights if is_constant(value)]
        known = [tensor for tensor in tensors if tensor is not None]
        shapes = {tuple(tensor.shape) for tensor in known}
        stem = f"{weights[0].name}/side_by_side"
        name = unique_name(self.b.graph, stem)
        if len(known) < len(weights) or len(shapes) != 1:
            raise Miss("an expert's matrices are not constants of one shape")
        shape = shapes.pop()
        if len(weights) == 1 and len(shape) == 3 and shape[0] == self.experts:
            return add_tensor(self.b.graph, SideBySide(known[0], True, name))
        if len(weights) != self.experts or len(shape) != 2:
            raise Miss(f"an expert's matrices have the shape {list(shape)}")
        return add_tensor(self.b.graph, side_by_side(known, name, [])[0])

    def _biased(self, nodes: list[ir.Node]) -> ir.Value | None:
        """A product and a bias for each expert, or None."""
        if nodes[0].op_type != "Add":
            return None
        for index in (0, 1):
            biases = [constant(value) for value in _operands(nodes, index)]
            known = [bias for bias in biases if bias is not None and bias.size > 1]
            if len(known) == len(nodes):
                return self._with_bias(self.of(_operands(nodes, 1 - index)), known)
        return None

    def _with_bias(self, product: ir.Value, biases: list[np.ndarray]) -> ir.Value:
        made = product.producer()
        stacked = np.stack([bias.reshape(-1) for bias in biases])
        width = dim(operand(made, 1), -1) if made is not None else None
        if made is None or made.op_type != "Experts" or made.overload or width is None:
            raise Miss("an expert's bias is not added to a product")
        if stacked.size != width or biases[0].shape[-1] * self.experts != width:
            raise Miss("an expert's bias is of another width than its product")
        x, weight, indices = (value for value in made.inputs if value is not None)
        bias = self.b.constant(stacked.reshape(self.experts, -1))
        return products(self.b, x, Matrices(self.experts, weight, bias), indices)

    def _elementwise(self, nodes: list[ir.Node]) -> ir.Value:
        inputs = [self._operand(nodes, index) for index in range(len(nodes[0].inputs))]
        return self.b.op(nodes[0].op_type, *inputs, domain=nodes[0].domain, **_attributes(nodes[0]))

    def _operand(self, nodes: list[ir.Node], index: int) -> ir.Value | None:
        """A constant that is one number for all experts, or what was made for the chosen ones."""
        if nodes[0].inputs[index] is None:
            return None
        copies = _operands(nodes, index)
        numbers = [constant(value) for value in copies]
        if numbers[0] is None:
            return self.of(copies)
        if any(n is None or n.size != 1 or n != numbers[0] for n in numbers):
            raise Miss("a constant differs from expert to expert")
        return copies[0]

    def _is_along_last(self, node: ir.Node) -> bool:
        size = rank(node.inputs[0])
        axes = [attribute(node, "axis", 0)]
        if node.op_type == "Slice":
            axes = integers(operand(node, 3)) or []
        return size is not None and axes in ([-1], [size - 1])

    def _part(self, nodes: list[ir.Node], copies: Copies) -> ir.Value:
        """A part of the last axis; a Split makes all of its parts at once."""
        x, node = self.of(_operands(nodes, 0)), nodes[0]
        if node.op_type == "Slice":
            _, start, end, _, *step = node.inputs
            last = self.b.constant(np.array([-1], np.int64))
            return self.b.op("Slice", x, start, end, last, *step)
        attributes = {**_attributes(node), "axis": -1}
        made = self.b.ops("Split", len(node.outputs), x, *node.inputs[1:], **attributes)
        for index, value in enumerate(made):
            self.made[tuple(each.outputs[index] for each in nodes)] = value
        return self.made[copies]


def _alike(node: ir.Node | None, first: ir.Node) -> bool:
    """Whether two nodes compute the same of their operands."""
    if node is None or (node.op_type, node.domain) != (first.op_type, first.domain):
        return False
    return _attributes(node) == _attributes(first) and len(node.inputs) == len(first.inputs)


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: a.value for name, a in node.attributes.items()}


def _operands(nodes: list[ir.Node], index: int) -> Copies:
    values = tuple(value for node in nodes if (value := operand(node, index)) is not None)
    if len(values) < len(nodes):
        raise Miss("the experts do not compute the same")
    return values
