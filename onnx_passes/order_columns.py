"""Every other column of a product, and the others  ->  halves of one with columns in order.

So gpt-oss keeps gates and ups of its experts. In order they are what all other units read, and a
product can end with the unit.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.experts.emit import Matrices, products
from onnx_passes.ir.edit import Builder, add_tensor, replace, unique_name
from onnx_passes.ir.graph import constant, dim, integers, needed, operand, producer, rank
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply
from onnx_passes.weights.picked import gates_before_ups, picked


def order_columns(model: ir.Model) -> Outcome:
    """Put the columns of all such products in order."""
    return apply(model, RULES)


def _order(_: ir.Model, node: ir.Node) -> bool:
    """The columns from 0 on; those from 1 on are looked for."""
    product = producer(operand(node, 0), "Experts")
    if product is None or _first_column(node) != 0:
        return False
    readers = [use.node for use in product.outputs[0].uses()]
    others = [each for each in readers if each is not node]
    if len(others) != 1 or _first_column(others[0]) != 1:
        raise Miss("the other columns are read in another way")
    if product.outputs[0].is_graph_output():
        raise Miss("the product is an output of the model")
    b = Builder(product)
    halves = b.ops("Split", 2, _in_order(b, product), axis=-1, num_outputs=2)
    for each, half in zip((node, others[0]), halves, strict=True):
        replace(each, half)
    return True


def _first_column(node: ir.Node) -> int | None:
    """Where a Slice begins that takes every other column of an even number."""
    x = operand(node, 0)
    width, size = dim(x, -1), rank(x) or 0
    if node.op_type != "Slice" or width is None or width % 2:
        return None
    given = [integers(operand(node, i)) for i in range(1, 5)]
    if any(numbers is None or len(numbers) != 1 for numbers in given):
        return None
    start, end, axis, step = (numbers[0] for numbers in given if numbers)
    whole = axis in (-1, size - 1) and end >= width and step == 2
    return start if whole and start in (0, 1) else None


def _in_order(b: Builder, product: ir.Node) -> ir.Value:
    """The product with its even columns before the odd ones."""
    experts, weight, bias = Matrices.of(product)
    if weight.const_value is None or (bias is not None and constant(bias) is None):
        raise Miss("its matrices are not constant")
    name = unique_name(b.graph, f"{weight.name}/in_order")
    width = (dim(weight, 1) or 0) // experts
    columns = gates_before_ups(experts, width)
    ordered = add_tensor(b.graph, picked(weight.const_value, columns, name))
    values = constant(bias)
    if values is not None:
        of_each = np.ascontiguousarray(values[:, gates_before_ups(1, width)])
        bias = b.constant(of_each, f"{name}.bias")
    return products(b, needed(product, 0), Matrices(experts, ordered, bias), needed(product, 2))


RULES: Rules = {("", "Slice"): _order}
