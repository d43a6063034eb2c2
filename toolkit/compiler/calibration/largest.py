"""The largest size that each value of a graph takes, as one more output of the graph."""

from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import add_constant

LARGEST = "pocket.largest"  # the output, float [values]


def give_largest(graph: ir.Graph) -> list[str]:
    """Add the output; return the names of its values: all floats that nodes compute.

    Numbers come out of ONNX Runtime instead of tensors, so that it frees these as it goes along.
    What is infinite, or no number, counts as zero: masks are that on purpose.
    """
    measured = [value for node in graph for value in node.outputs if _is_float(value)]
    zero = add_constant(graph, np.zeros(1, np.float32), f"{LARGEST}/zero")
    infinite = add_constant(graph, np.array(np.inf, np.float32), f"{LARGEST}/infinite")
    flat = add_constant(graph, np.array([-1]), f"{LARGEST}/flat")
    found = [zero]
    for value in measured:
        size = _op(graph, "Abs", _op(graph, "Cast", value, to=ir.DataType.FLOAT))
        known = _op(graph, "Where", _op(graph, "Less", size, infinite), size, zero)
        elements = _op(graph, "Concat", _op(graph, "Reshape", known, flat), zero, axis=0)
        most = _op(graph, "ReduceMax", elements, keepdims=0)  # of one element at least
        found.append(_op(graph, "Reshape", most, flat))
    largest = _op(graph, "Concat", *found, axis=0)
    largest.name = LARGEST
    largest.dtype, largest.shape = ir.DataType.FLOAT, ir.Shape([len(found)])
    graph.outputs.append(largest)
    return ["", *(value.name or "" for value in measured)]


def _is_float(value: ir.Value) -> bool:
    return bool(value.name) and value.dtype is not None and value.dtype.is_floating_point()


def _op(graph: ir.Graph, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
    node = ir.node(op_type, inputs, attributes)
    (output,) = node.outputs
    output.name = node.name = f"{LARGEST}/{len(graph)}"
    graph.append(node)
    return output
