"""A gated unit that every token takes, beside experts that are chosen  ->  more experts.

A shared expert of n times their width is n of them, which every token chooses and which count 1:
units work on each column alone, and the product after them adds columns up. So DeepSeek's mixtures
(Dai et al. 2024, "DeepSeekMoE") and those after them take as many launches as any other.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.experts.emit import Choice, Matrices, for_each, mixed, products
from onnx_passes.analysis.experts.units import (
    MOVED,
    Chosen,
    Shared,
    Unit,
    chosen_experts,
    shared_expert,
)
from onnx_passes.ir.edit import Builder, add_tensor, replace, unique_name
from onnx_passes.ir.graph import (
    DOMAIN,
    dim,
    needed,
    through,
)
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply
from onnx_passes.weights.blocks import in_blocks
from onnx_passes.weights.concat import side_by_side
from onnx_passes.weights.picked import picked


def join_shared_expert(model: ir.Model) -> Outcome:
    """Let the chosen experts include those that all tokens take."""
    return apply(model, RULES)


def _join(_: ir.Model, node: ir.Node) -> bool:
    for one, other in (node.inputs, node.inputs[::-1]):
        chosen = chosen_experts(one)
        shared = None if chosen is None else shared_expert(other)
        if chosen is None or shared is None or one is None or other is None:
            continue
        if chosen.unit.has_biases or shared.unit.has_biases:
            raise Miss("an expert has biases")
        if one.shape != other.shape:
            raise Miss("the experts' sums are not added row by row")
        if through(chosen.x, *MOVED) is not through(shared.x, *MOVED):
            raise Miss("the shared expert reads another value than the chosen ones")
        if chosen.unit.kind != shared.unit.kind:
            raise Miss("the shared expert's unit is another than the chosen ones'")
        replace(node, _joined(Builder(node), chosen, shared, node.outputs[0]))
        return True
    return False


def _joined(b: Builder, chosen: Chosen, shared: Shared, y: ir.Value) -> ir.Value:
    dims = [size if isinstance(size, int) else -1 for size in y.shape or ()]
    depth = dim(shared.x, -1)
    if depth is None or dims.count(-1) > 1 or not dims:
        raise Miss("its sizes are not known")
    first, last = _matrices(b, chosen.unit, shared.unit)
    rows = for_each(b, b.op("Reshape", shared.x, b.target(-1, depth)))
    choice = _choice(b, chosen, shared, first.experts)
    inner = products(b, rows, first, choice.indices)
    ended = b.op("Glu", inner, domain=DOMAIN, overload=chosen.unit.kind)
    mixture = mixed(b, products(b, ended, last, choice.indices), choice.gates)
    return b.op("Reshape", mixture, b.target(*dims))


def _choice(b: Builder, chosen: Chosen, shared: Shared, experts: int) -> Choice:
    """Indices [M, k] and gates, and those of the experts that every token takes."""
    apart, before = b.target(-1, chosen.k), Matrices.of(chosen.unit.first).experts
    indices = b.op("Reshape", needed(chosen.unit.first, 2), apart)
    gates = b.op("Reshape", chosen.gates, apart)
    dtype = (chosen.gates.dtype or ir.DataType.FLOAT).numpy()
    for expert in range(before, experts):
        indices = _padded(b, indices, np.array(expert, np.int64))
    if shared.gate is None:
        return Choice(indices, _padded(b, gates, np.array(1, dtype), experts - before))
    gate = b.op("Reshape", shared.gate, b.target(-1, 1))
    return Choice(indices, b.op("Concat", gates, *[gate] * (experts - before), axis=1))


def _padded(b: Builder, value: ir.Value, element: np.ndarray, count: int = 1) -> ir.Value:
    """A value [M, k] with so many more in each row."""
    return b.op("Pad", value, b.target(0, 0, 0, count), b.constant(element))


def _matrices(b: Builder, chosen: Unit, shared: Unit) -> tuple[Matrices, Matrices]:
    """Both products' matrices of all experts, those that every token takes at the end."""
    first, last = Matrices.of(chosen.first), Matrices.of(chosen.last)
    gates_ups, down = needed(shared.first, 1), needed(shared.last, 1)
    width, whole = dim(last.weight, 0), dim(down, 0)
    if not width or not whole or whole % width:
        raise Miss(f"the shared expert's width {whole} is no multiple of the others' {width}")
    count, upper, lower = whole // width, _constant(gates_ups), _constant(down)
    if count > 1:
        by_expert = np.arange(2 * whole).reshape(2, count, width).swapaxes(0, 1)
        names = (unique_name(b.graph, f"{value.name}/by_expert") for value in (gates_ups, down))
        upper = picked(upper, by_expert.reshape(-1), next(names))
        lower = in_blocks(lower, count, next(names))
    return _beside(b, first, upper, count), _beside(b, last, lower, count)


def _beside(b: Builder, matrices: Matrices, more: ir.TensorProtocol, count: int) -> Matrices:
    own = _constant(matrices.weight)
    if own.dtype != more.dtype or own.shape[0] != more.shape[0]:
        raise Miss("the shared expert's weights differ in type or depth from the chosen ones'")
    name = unique_name(b.graph, f"{matrices.weight.name}/shared")
    joined, loss = side_by_side([own, more], name, [])
    if loss:
        raise Miss("only some of the experts' weights are codes")
    return Matrices(matrices.experts + count, add_tensor(b.graph, joined))


def _constant(value: ir.Value) -> ir.TensorProtocol:
    if value.const_value is None:
        raise Miss("an expert's matrices are not constant")
    return value.const_value


RULES: Rules = {("", "Add"): _join}
