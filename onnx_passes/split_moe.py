"""com.microsoft.MoE and QMoE  ->  what they do: choose, multiply by what was chosen, weigh, sum.

The router's values choose k experts for each token; a softmax of the chosen ones, or of all, tells
how much each counts. Semantics: ONNX Runtime's contrib ops.
"""

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.experts.emit import Activation, Choice, Matrices, gates_and_ups, mixture
from onnx_passes.ir.edit import Builder, add_tensor, replace, unique_name
from onnx_passes.ir.graph import attribute, check_attributes, constant, finite, needed, operand
from onnx_passes.ir.rules import Done, Miss, Outcome, Rules, apply
from onnx_passes.read_integer_products import ROUNDED
from onnx_passes.weights.block_codes import BlockCodes, bits_of, shared
from onnx_passes.weights.picked import SideBySide, gates_before_ups, picked
from onnx_passes.weights.stored import fault, stored, whole

KNOWN = (
    *("k", "activation_type", "activation_alpha", "activation_beta", "swiglu_fusion"),
    *("swiglu_limit", "normalize_routing_weights"),
)
OF_CODES = (
    *("expert_weight_bits", "block_size", "accuracy_level", "weights_prepacked"),
    *(f"fc{i}_expert_weight_bits" for i in (1, 2, 3)),
)
KINDS = {"relu": "relu", "gelu": "gelu", "silu": "silu", "swiglu": "silu", "identity": "identity"}
INTERLEAVED = 1  # swiglu_fusion: an expert's gates and ups alternate

Part = Callable[[int], Matrices]  # the weights of fc1, fc2, fc3


def split_moe(model: ir.Model) -> Outcome:
    """Replace every MoE and QMoE.

    Raises GraphError where codes are damaged.
    """
    return apply(model, RULES)


def _of_floats(model: ir.Model, node: ir.Node) -> Done:
    """MoE: x, router, then weight and bias of fc1, fc2 and fc3."""
    check_attributes(node, KNOWN, use_sparse_mixer=0)

    def part(i: int) -> Matrices:
        value = needed(node, 2 + 2 * i)
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None or len(tensor.shape) != 3:
            raise Miss(f"the weights of fc{i + 1} are no constant [experts, N, K]")
        name = unique_name(model.graph, f"{value.name}/side_by_side")
        return _biased(node, tensor.shape.numpy()[0], SideBySide(tensor, False, name), 3 + 2 * i)

    _replace(node, part, operand(node, 6) is not None, None)
    return True


def _of_codes(model: ir.Model, node: ir.Node) -> Done:
    """QMoE: x, router, then codes, scales and bias of each; zero points; what experts count."""
    check_attributes(node, (*KNOWN, *OF_CODES), use_sparse_mixer=0, quant_type="int")
    if attribute(node, "weights_prepacked", -1) == 1:
        raise Miss("its weights are packed for one kind of device")
    if any(operand(node, place) is not None for place in range(15, 21)):
        raise Miss("it scales activations, or weights as a whole")

    def part(i: int) -> Matrices:
        place, own = 2 + 3 * i, f"fc{i + 1}_expert_weight_bits"
        bits = bits_of(node, own if own in node.attributes else "expert_weight_bits")
        found = stored(operand(node, place))
        if found is None or len(found.shape) != 3:
            raise fault(node, f"the weights of fc{i + 1} are no constant [experts, N, bytes]")
        experts, N, packed = found.shape
        places, block = (place, place + 1, 11 + i), whole(node, "block_size", 0) or None
        codes = BlockCodes.of(node, (experts * N, packed * 8 // bits), places, bits, block)
        return _biased(node, experts, shared(model, codes, transposed=True), place + 2)

    _replace(node, part, operand(node, 8) is not None, operand(node, 14))
    rounded = whole(node, "accuracy_level", 0) == 4 or whole(node, "expert_weight_bits", 4) == 8
    return ROUNDED if rounded else True


def _biased(node: ir.Node, experts: int, tensor: ir.LazyTensor, place: int) -> Matrices:
    bias, width = operand(node, place), tensor.shape.numpy()[1] // experts
    values = constant(bias)
    if bias is not None and (values is None or values.shape != (experts, width)):
        raise Miss(f"its input {place} is no constant [{experts}, {width}]")
    assert isinstance(node.graph, ir.Graph)
    return Matrices(experts, add_tensor(node.graph, tensor), bias)


def _replace(node: ir.Node, part: Part, has_third: bool, mixing: ir.Value | None) -> None:
    act, b, x = _activation(node, has_third), Builder(node), needed(node, 0)
    first, last = part(0), part(1)
    if has_third:
        first = gates_and_ups(b, first, part(2))
    elif attribute(node, "swiglu_fusion", 0) == INTERLEAVED:
        first = _apart(b, first)
    choice = _choice(b, node, needed(node, 1), mixing)
    assert first.weight.const_value is not None
    rows = b.op("Reshape", x, b.target(-1, first.weight.const_value.shape.numpy()[0]))
    y = mixture(b, rows, first, act, last, choice)
    replace(node, b.op("Reshape", y, b.op("Shape", x)))


def _activation(node: ir.Node, has_third: bool) -> Activation:
    kind, fused = attribute(node, "activation_type", "relu"), attribute(node, "swiglu_fusion", 0)
    if kind not in KINDS or fused not in (0, 1, 2):
        raise Miss(f"its activation {kind!r} (swiglu_fusion {fused}) is not known")
    if kind != "swiglu":
        return Activation(KINDS[kind], has_third)
    if bool(fused) == has_third:
        raise Miss("its gates and ups are neither one weight nor two")
    names = ("activation_alpha", 1.0), ("activation_beta", 0.0)
    alpha, beta = (finite(attribute(node, name, usual), name) for name, usual in names)
    return Activation("silu", True, alpha, beta, attribute(node, "swiglu_limit", math.inf))


def _apart(b: Builder, both: Matrices) -> Matrices:
    """Gates and ups that alternate: first the one, then the other."""
    tensor, bias = both.weight.const_value, constant(both.bias)
    assert tensor is not None
    name = unique_name(b.graph, f"{both.weight.name}/gates_ups")
    width = tensor.shape.numpy()[1] // both.experts
    weight = add_tensor(b.graph, picked(tensor, gates_before_ups(both.experts, width), name))
    if bias is None:
        return Matrices(both.experts, weight)
    ordered = np.ascontiguousarray(bias[:, gates_before_ups(1, width)])
    return Matrices(both.experts, weight, b.constant(ordered, f"{name}.bias"))


def _choice(b: Builder, node: ir.Node, router: ir.Value, mixing: ir.Value | None) -> Choice:
    """The experts with the largest values, and what each counts."""
    # ONNX Runtime's QMoE on CPUs always normalises what the router says
    always = node.op_type == "QMoE" and mixing is None
    normalised = always or attribute(node, "normalize_routing_weights", 0)
    count = b.constant(np.array([attribute(node, "k", 1)], np.int64))
    if mixing is None and not normalised:
        router = b.op("Softmax", router, axis=-1)
    values, indices = b.ops("TopK", 2, router, count, axis=-1)
    if mixing is None:
        return Choice(indices, b.op("Softmax", values, axis=-1) if normalised else values)
    gates = b.op("GatherElements", mixing, indices, axis=-1)
    if not normalised:
        return Choice(indices, gates)
    total = b.op("ReduceSum", gates, b.constant(np.array([-1], np.int64)), keepdims=1)
    return Choice(indices, b.op("Div", gates, total))


RULES: Rules = {
    ("com.microsoft", "MoE"): _of_floats,
    ("com.microsoft", "QMoE"): _of_codes,
}
