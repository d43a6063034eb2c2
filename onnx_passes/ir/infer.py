"""Shape inference: `onnx-shape-inference` and what it lacks, as one function."""

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
import onnx_shape_inference as osi
import sympy
from onnx_shape_inference._engine import _process_graph

from onnx_passes.ir.dims import Dim, as_expr
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import DOMAIN, SizeError, is_op
from onnx_passes.ir.ops import defined
from onnx_passes.ir.shapes.inferred import hold, note
from onnx_passes.ir.shapes.pocket_rules import OURS
from onnx_passes.ir.shapes.rule_context import CONTEXT
from onnx_passes.ir.shapes.shape_rules import register_rules

LARGEST = 2**48  # elements along an axis, and far beyond any memory


def infer(model: ir.Model) -> None:
    """Give every value its shape and type, from the inputs alone; no declared shape is trusted."""
    register_rules()
    CONTEXT.set(Facts.of(model).context)
    bodies = defined(model) if _needs_bodies(model) else contextlib.nullcontext()
    with warnings.catch_warnings(), bodies:
        warnings.simplefilter("ignore")
        _infer(model)


def _needs_bodies(model: ir.Model) -> bool:
    """Whether an op of ours has no rule, so that its shapes follow from its body in ops.txt."""
    ours = (node for node in model.graph.all_nodes() if node.domain == DOMAIN)
    return any(n.op_type not in OURS and n.op_identifier() not in model.functions for n in ours)


def _infer(model: ir.Model) -> None:
    context = osi.ShapeInferenceContext(model.opset_imports)
    context.reserve_symbol_names(_names(model.graph))
    part = _Part(model.graph, context)
    try:
        _process_graph(
            context,
            part,
            warn_on_missing=False,
            model_functions=model.functions,
            inference_cache={},
            op_function_cache={},
        )
    except (osi.ShapeInferenceError, osi.OpUsageError) as error:
        raise SizeError(
            "the model's shapes do not fit together",
            str(error).split("\n")[0],
            "check the file with onnx.checker, or export it again",
        ) from error


class _Part:
    """What the library walks through in place of the graph: the nodes whose shapes don't hold."""

    def __init__(self, graph: ir.Graph, context: Any) -> None:
        self.graph, self.context = graph, context
        self.inputs, self.initializers = graph.inputs, graph.initializers

    def __iter__(self) -> Iterator[ir.Node]:
        """Each when those before it are known."""
        for node in self.graph:
            if hold(node, self.context):
                continue
            _forget(node)
            found = len(self.context.symbolic_equalities)
            yield node
            for output in node.outputs:
                _simplify(output)
            if len(self.context.symbolic_equalities) == found:  # else later rules know more
                note(node, self.context)


def _forget(node: ir.Node) -> None:
    """Take the shapes away, in subgraphs too. The tensor of a Constant is noted with its value.

    Rules ask for constants again and again; `onnx_ir` looks at the node for it each time, and
    whether its attribute fits a protocol, which is half of the time that a fresh export takes.
    """
    for output in node.outputs:
        output.shape = None
        output.metadata_props.pop(osi.SYM_DATA_KEY, None)
    if is_op(node, "Constant") and len(node.outputs) == len(node.attributes) == 1:
        output.const_value = _tensor(output, node)
    for graph in _subgraphs(node):
        for inner in graph:
            _forget(inner)


def _tensor(output: ir.Value, node: ir.Node) -> ir.TensorProtocol | None:
    """Of a Constant; most hold it as it is."""
    held = node.attributes.get("value")
    if held is not None and held.type == ir.AttributeType.TENSOR:
        tensor: ir.TensorProtocol = held.value
        return tensor
    return ir.convenience.get_const_tensor(output)


def _subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()


def _names(graph: ir.Graph) -> set[str]:
    """In declared sizes of inputs, subgraphs' too: what the inference makes up must not be one."""
    sizes = (dim for value in graph.inputs for dim in value.shape or () if not isinstance(dim, int))
    found = {name for dim in sizes for name in re.findall(r"\w+", dim.value or "")}
    below = (sub for node in graph for sub in _subgraphs(node))
    return found.union(*map(_names, below))


def _simplify(value: ir.Value) -> None:
    if value.shape is not None:
        value.shape = ir.Shape([_simple(dim) for dim in value.shape])
        _check_sizes(value)


def _simple(dim: Dim) -> Dim:
    """An int for a symbolic dimension that is one; quotients of sizes reduced."""
    if isinstance(dim, int) or dim.value is None:
        return dim
    if "/" in dim.value:
        reduced = as_expr(dim).replace(sympy.floor, lambda x: sympy.floor(sympy.cancel(x)))
        return int(reduced) if reduced.is_Integer else ir.SymbolicDim(reduced)
    return int(dim.value) if dim.value.isdecimal() else dim


def _check_sizes(value: ir.Value) -> None:
    for dim in value.shape or ():
        if isinstance(dim, int) and not 0 <= dim <= LARGEST:
            raise SizeError(
                "the model's shapes do not fit together",
                f"{value.name} would have the shape {value.shape}",
                "check the file with onnx.checker, or export it again",
            )
