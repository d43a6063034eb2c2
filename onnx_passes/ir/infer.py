"""Shape inference: `onnx-shape-inference` and what it lacks, as one function."""

import contextlib
import warnings

import onnx_ir as ir
import onnx_shape_inference as osi
import sympy

from onnx_passes.ir.dims import Dim, as_expr
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import DOMAIN, SizeError, is_op
from onnx_passes.ir.ops import defined
from onnx_passes.ir.pocket_rules import OURS
from onnx_passes.ir.rule_context import CONTEXT
from onnx_passes.ir.shape_rules import register_rules

LARGEST = 2**48  # elements along an axis, and far beyond any memory


def infer(model: ir.Model) -> None:
    """Give every value its shape and type, from the inputs alone; no declared shape is trusted."""
    register_rules()
    for node in model.graph.all_nodes():
        _forget(node)
    CONTEXT.set(Facts.of(model).context)
    bodies = defined(model) if _needs_bodies(model) else contextlib.nullcontext()
    with warnings.catch_warnings(), bodies:
        warnings.simplefilter("ignore")
        _infer(model)
    for node in model.graph:
        for output in node.outputs:
            if output.shape is not None:
                output.shape = ir.Shape([_simple(dim) for dim in output.shape])
                _check_sizes(output)


def _forget(node: ir.Node) -> None:
    """Take the shapes away. The tensor of a Constant is noted with its value.

    Rules ask for constants again and again; `onnx_ir` looks at the node for it each time, and
    whether its attribute fits a protocol, which is half of the time that a fresh export takes.
    """
    for output in node.outputs:
        output.shape = None
        output.metadata_props.pop(osi.SYM_DATA_KEY, None)
    if is_op(node, "Constant") and len(node.outputs) == len(node.attributes) == 1:
        output.const_value = ir.convenience.get_const_tensor(output)


def _needs_bodies(model: ir.Model) -> bool:
    """Whether an op of ours has no rule, so that its shapes follow from its body in ops.txt."""
    ours = (node for node in model.graph.all_nodes() if node.domain == DOMAIN)
    return any(n.op_type not in OURS and n.op_identifier() not in model.functions for n in ours)


def _check_sizes(value: ir.Value) -> None:
    for dim in value.shape or ():
        if isinstance(dim, int) and not 0 <= dim <= LARGEST:
            raise SizeError(
                "the model's shapes do not fit together",
                f"{value.name} would have the shape {value.shape}",
                "check the file with onnx.checker, or export it again",
            )


def _infer(model: ir.Model) -> None:
    try:
        osi.infer_symbolic_shapes(model, warn_on_missing=False, adopt_declared_symbols=False)
    except (osi.ShapeInferenceError, osi.OpUsageError) as error:
        raise SizeError(
            "the model's shapes do not fit together",
            str(error).split("\n")[0],
            "check the file with onnx.checker, or export it again",
        ) from error


def _simple(dim: Dim) -> Dim:
    """An int for a symbolic dimension that is one; quotients of sizes reduced."""
    if isinstance(dim, int) or dim.value is None:
        return dim
    if "/" in dim.value:
        reduced = as_expr(dim).replace(sympy.floor, lambda x: sympy.floor(sympy.cancel(x)))
        return int(reduced) if reduced.is_Integer else ir.SymbolicDim(reduced)
    return int(dim.value) if dim.value.isdecimal() else dim
