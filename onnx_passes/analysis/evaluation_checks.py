"""Before a piece of a model is evaluated: is that little work? After it: were shapes right?

A file chooses what is evaluated at compile time, so that its size is known beforehand or it is left
alone. And shapes that were inferred are what everything later relies on: where a value is computed,
the two are compared.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.dims import evaluated, is_anonymous
from onnx_passes.ir.graph import COUNTING, GraphError
from onnx_passes.ir.rules import Miss
from opencl_kernels.map.functions import SCALAR_OPS

LARGE = 1 << 24  # elements: a piece that needs a larger value is no mask and no table
WHOLE = 1 << 27  # elements of all its values
PAIRS = 1 << 32  # of elements, which a product may have to go through
# Ops whose work grows with what they read and write; that of others, with the product of inputs.
LINEAR = frozenset(
    (
        *SCALAR_OPS,
        *COUNTING,
        *(
            "And",
            "Cast",
            "CastLike",
            "Ceil",
            "Clip",
            "Concat",
            "Constant",
            "ConstantOfShape",
            "Cos",
        ),
        *("CumSum", "Equal", "Expand", "EyeLike", "Flatten", "Floor", "Gather", "GatherElements"),
        *("GatherND", "Greater", "GreaterOrEqual", "If", "IsInf", "IsNaN", "Less", "LessOrEqual"),
        *("Mod", "Not", "OneHot", "Or", "Pad", "Range", "ReduceMax", "ReduceMean", "ReduceMin"),
        *("ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterElements", "ScatterND", "Shape"),
        *("Sign", "Sin", "Size", "Slice", "Softmax", "Split", "Squeeze", "Tile", "Transpose"),
        *("Trilu", "Unsqueeze", "Where", "Xor"),
    )
)
LOOPS = ("Loop", "Scan")


def check_work(values: Iterable[ir.Value], at: Mapping[str, int]) -> None:
    """A Miss unless computing `values` at these sizes is known to be little work."""
    total, done = 0, set[ir.Node]()
    for value in values:
        total += _elements(value, at)
        node = value.producer()
        if node is not None and node not in done:
            done.add(node)
            _check_node(node, at)
    if total > WHOLE:
        raise Miss(f"it computes {total:,} elements, which is more than masks and tables have")


def check_inferred(
    values: Iterable[ir.Value], arrays: Mapping[str, np.ndarray], at: Mapping[str, int]
) -> None:
    """Compare shapes as inferred with those of the arrays that were computed.

    Raises:
        GraphError: they differ, so that no other shape can be relied on either.
    """
    for value in values:
        array, inferred = arrays.get(value.name or ""), _sizes(value, at)
        if array is not None and inferred is not None and tuple(inferred) != array.shape:
            sizes = ", ".join(f"{name} = {size}" for name, size in at.items())
            raise GraphError(
                f"the shape of {value.name} was inferred wrongly",
                f"{value.shape} is {inferred} at {sizes}; what is computed is {[*array.shape]}",
                "report it with the model: this is a fault of PocketCL",
            )


def _check_node(node: ir.Node, at: Mapping[str, int]) -> None:
    if node.op_type in LOOPS:
        raise Miss(f"it is computed by a {node.op_type}")
    bodies = [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    for inner in (node for body in bodies for node in body.all_nodes()):
        check_work(inner.outputs, at)
    if node.op_type in LINEAR:
        return
    pairs = math.prod(_elements(value, at) or 1 for value in node.inputs if value is not None)
    if pairs > PAIRS:
        raise Miss(f"its {node.op_type} is more work than masks and tables take")


def _elements(value: ir.Value, at: Mapping[str, int]) -> int:
    """How many elements a value has; a Miss where that depends on the data, or is large."""
    sizes = _sizes(value, at)
    if sizes is None:
        raise Miss(f"the size of {value.name} depends on the data")
    if (count := math.prod(sizes)) > LARGE:
        raise Miss(f"{value.name} has {count:,} elements: it is no mask and no table")
    return count


def _sizes(value: ir.Value, at: Mapping[str, int]) -> Sequence[int] | None:
    if value.shape is None or any(is_anonymous(dim) for dim in value.shape):
        return None
    try:
        return [evaluated(dim, at) for dim in value.shape]
    except KeyError:  # a size with a symbol of its own, which has no value here
        return None
