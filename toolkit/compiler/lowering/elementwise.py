"""Elementwise chains as OpenCL C: one expression over a0, a1 …, and an index map per input."""

import onnx_ir as ir
import sympy

from opencl_kernels.elementwise.functions import SCALAR_OPS
from opencl_kernels.kernel import c_float
from toolkit.compiler.lowering.builder import c_expression


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
