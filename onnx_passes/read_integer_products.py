"""Products of integers, whose activations are rounded on the way  ->  products of floats.

Dynamic quantisation writes them (ONNX Runtime's quantize_dynamic; transformers.js' model_int8,
model_uint8 and model_quantized): the weight keeps its codes, and activations stay as they were.
"""

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, add_tensor, drop_unused, replace, unique_name
from onnx_passes.ir.graph import needed, operand, other, producer, sole_use
from onnx_passes.ir.rules import Done, Loss, Miss, Outcome, Rules, apply
from onnx_passes.weights.linear_codes import LinearCodes
from onnx_passes.weights.stored import Constant, stored

ROUNDED = Loss(
    "activations are no longer rounded to 8 bits: answers differ from the original's a little"
)


def read_integer_products(model: ir.Model) -> Outcome:
    """Replace every product of rounded activations with a constant weight.

    Raises GraphError where codes and scales do not fit together.
    """
    outcome = apply(model, RULES)
    if outcome.rewrites:
        drop_unused(model)  # the rounding, which would be refused
    return outcome


def _spelled_out(_: ir.Model, node: ir.Node) -> Done:
    """Cast(MatMulInteger(q, w, zero, w_zero)) * (scale * w_scale), (q, scale, zero) of x."""
    x, scale = _rounded(node, 0, 2)
    cast = sole_use(node.outputs[0], "Cast")
    product = None if cast is None else sole_use(cast.outputs[0], "Mul")
    if cast is None or product is None:
        raise Miss("the product of integers is not scaled at once")
    scales = producer(other(product, cast.outputs[0]), "Mul")
    if scales is None or scale not in scales.inputs:
        raise Miss("what the product is scaled by is not a product of two scales")
    weight = _weight(node, 1, other(scales, scale), 3)
    return _replaced(product, x, weight, None)


def _fused(_: ir.Model, node: ir.Node) -> Done:
    """MatMulIntegerToFloat (q, w, scale, w_scale, zero, w_zero, bias)."""
    x, scale = _rounded(node, 0, 4)
    if scale is not operand(node, 2):
        raise Miss("the scale of its activations is another than they were rounded with")
    return _replaced(node, x, _weight(node, 1, needed(node, 3), 5), operand(node, 6))


def _rounding(_: ir.Model, node: ir.Node) -> Done:
    """DynamicQuantizeMatMul (x, w, w_scale, w_zero, bias)."""
    return _replaced(node, needed(node, 0), _weight(node, 1, needed(node, 2), 3), operand(node, 4))


def _rounded(node: ir.Node, codes: int, zero: int) -> tuple[ir.Value, ir.Value]:
    """What inputs `codes` and `zero` were rounded from, and its scale."""
    rounding = producer(operand(node, codes), "DynamicQuantizeLinear")
    if rounding is None or operand(node, zero) is not rounding.outputs[2]:
        raise Miss("its activations are not rounded right before it (DynamicQuantizeLinear)")
    return needed(rounding, 0), rounding.outputs[1]


def _weight(node: ir.Node, codes: int, scale: ir.Value, zero: int) -> LinearCodes:
    def constant(value: ir.Value | None, what: str) -> Constant:
        found = stored(value)
        if found is None:
            raise Miss(f"its {what} are not constants")
        return found

    offset = operand(node, zero)
    zeros = None if offset is None else constant(offset, "zero points")
    parts = constant(operand(node, codes), "codes"), constant(scale, "scales")
    return LinearCodes.by_column(node, *parts, zeros)


def _replaced(node: ir.Node, x: ir.Value, weight: LinearCodes, bias: ir.Value | None) -> Loss:
    """The product in floats for what `node` makes."""
    b = Builder(node)
    name = unique_name(b.graph, f"{node.outputs[0].name}/weight")
    tensor: ir.LazyTensor
    try:
        tensor = weight.quantized(0, name)
    except Miss:
        tensor = weight.floats(name)
    y = b.op("MatMul", x, add_tensor(b.graph, tensor))
    made = y.producer()
    assert made is not None
    made.name = weight.node.name or made.name
    replace(node, y if bias is None else b.op("Add", y, bias))
    return ROUNDED


RULES: Rules = {
    ("", "MatMulInteger"): _spelled_out,
    ("com.microsoft", "MatMulIntegerToFloat"): _fused,
    ("com.microsoft", "DynamicQuantizeMatMul"): _rounding,
}
