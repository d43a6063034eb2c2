"""Elementwise chains as OpenCL C: one expression over a0, a1 …, and an index map per input."""

from typing import Any

import onnx_ir as ir
import sympy

from onnx_passes.ir.graph import is_constant, needed
from opencl_kernels.elementwise.functions import SCALAR_OPS
from opencl_kernels.kernel import c_float
from toolkit.compiler.lowering.builder import PhaseBuilder, Place, c_expression, label
from toolkit.compiler.lowering.matmul import logits_place


def expression(function: ir.Function) -> str:
    """The body of a `pocket.Elementwise` as one C expression."""
    text = {value: f"a{i}" for i, value in enumerate(function.inputs)}
    for node in function:
        if node.op_type == "Constant":
            number = node.attributes["value"].as_tensor().numpy()
            text[node.outputs[0]] = c_float(float(number.reshape(())))
        else:
            operands = [text[value] for value in node.inputs if value is not None]
            text[node.outputs[0]] = SCALAR_OPS[node.op_type].format(*operands)
    return text[function.outputs[0]]


def index_map(shape: list[sympy.Expr], source: list[sympy.Expr]) -> str:
    """Which element of an input shaped `source` element i of `shape` reads, as C (broadcasting)."""
    padded = [sympy.Integer(1)] * (len(shape) - len(source)) + source
    if padded == shape:
        return "i"
    terms, outer, inner = [], sympy.Integer(1), sympy.Integer(1)
    for size, own in zip(reversed(shape), reversed(padded), strict=True):
        if own not in (1, size):
            raise ValueError(f"{source} does not broadcast to {shape}")
        if own != 1:
            place = "i" if outer == 1 else f"(i / {c_expression(outer)})"
            terms.append(f"{place} % {c_expression(size)} * {c_expression(inner)}")
            inner *= own
        outer *= size
    return " + ".join(terms) or "0"


def lower_elementwise(b: PhaseBuilder, node: ir.Node) -> None:
    """A chain of ops as one dispatch."""
    y = node.outputs[0]
    place = logits_place(b, y) if y.is_graph_output() else b.output(y)
    shape, text = b.dims(y), expression(b.functions[node.op_identifier()])
    count = sympy.prod(shape)
    case: dict[str, Any] = {"EXPR": text, "INPUTS": len(node.inputs), "y": place.dtype}
    case |= {"COUNT": count, "COUNT_C": c_expression(count)}
    refs = {"y": place.ref}
    for i in range(len(node.inputs)):
        value = needed(node, i)
        known = is_constant(value)
        source = Place(b.weights.vector(value), "f32") if known else b.place(value)
        case[f"IDX{i}"] = index_map(shape, b.dims(value))
        case |= {f"SIZE{i}": size} if (size := sympy.prod(b.dims(value))) != count else {}
        case[f"a{i}"], refs[f"a{i}"] = source.dtype, source.ref
    b.emit(label(node), "elementwise", case, refs)
