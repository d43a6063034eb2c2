"""Elementwise chains: ops become steps of one kernel; inputs are read through index maps."""

import onnx_ir as ir
import sympy

from onnx_passes.ir.graph import DOMAIN, is_constant, needed
from opencl_kernels.elementwise.elementwise import Chain, Operand, Term
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, label
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.matmul import logits


def chain_steps(function: ir.Function) -> tuple[str, ...]:
    """The body of a `pocket.Elementwise` as steps of a `Chain`."""
    names = {value: f"a{i}" for i, value in enumerate(function.inputs)}
    steps: list[str] = []
    for node in function:
        if node.op_type == "Constant":
            number = node.attributes["value"].as_tensor().numpy()
            names[node.outputs[0]] = repr(float(number.reshape(())))
        else:
            operands = [names[value] for value in node.inputs if value is not None]
            names[node.outputs[0]] = f"t{len(steps)}"
            steps.append(" ".join([node.op_type, *operands]))
    last = names[function.outputs[0]]
    return tuple(steps) if last == f"t{len(steps) - 1}" else (*steps, f"Identity {last}")


def index_map(shape: list[sympy.Expr], source: list[sympy.Expr]) -> tuple[Term, ...] | None:
    """The terms of the input index that element i of `shape` reads; None if it is i itself.

    source  the input's shape, which broadcasts to `shape`
    """
    padded = [sympy.Integer(1)] * (len(shape) - len(source)) + source
    if padded == shape:
        return None
    terms, outer, inner = [], sympy.Integer(1), sympy.Integer(1)
    for size, own in zip(reversed(shape), reversed(padded), strict=True):
        if own not in (1, size):
            raise ValueError(f"{source} does not broadcast to {shape}")
        if own != 1:
            terms.append(Term(outer, size, inner))
            inner *= own
        outer *= size
    return tuple(terms)


def lower_elementwise(b: PhaseBuilder, node: ir.Node) -> None:
    """A chain of ops as one dispatch."""
    y = node.outputs[0]
    into = logits(b, y) if y.is_graph_output() else b.output(y)
    shape, refs, operands = b.dims(y), {"y": into.ref}, []
    for i in range(len(node.inputs)):
        value = needed(node, i)
        if is_constant(value):
            source = Location(b.weights.vector(value), "f32")
        else:
            source = b.location(value)
        dims = b.dims(value)
        size = sympy.prod(dims)
        same = size == sympy.prod(shape)
        operands.append(Operand(source.dtype, 0 if same else size, index_map(shape, dims)))
        refs[f"a{i}"] = source.ref
    steps = chain_steps(b.functions[node.op_identifier()])
    case = Chain(count=sympy.prod(shape), steps=steps, inputs=tuple(operands), y=into.dtype)
    b.emit(label(node), "elementwise", case, refs)


CHAINS = (Lowering(DOMAIN, "Elementwise", lower_elementwise),)
