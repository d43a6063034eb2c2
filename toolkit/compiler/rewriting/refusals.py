"""What is refused after the passes: nodes without a kernel, and open dimensions."""

from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir

from onnx_passes import Missed
from onnx_passes.analysis.fixed_sizes import exported_for, fixed_sizes
from onnx_passes.analysis.roles import roles_of
from onnx_passes.analysis.uses import Cache, caches
from onnx_passes.ir.dims import unresolved_dims
from onnx_passes.ir.graph import DOMAIN
from toolkit.compiler.lowering.table import LOWERINGS, unsupported
from toolkit.errors import PocketError

DOMAINS = ("", "ai.onnx", "com.microsoft", DOMAIN)
SHAPE_OPS = frozenset(
    [
        *("Shape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Range", "Expand", "Where"),
        *("Equal", "Cast", "ConstantOfShape", "Constant", "LessOrEqual", "And", "Not", "Add"),
    ]
)
NO_CACHE = (
    "the model keeps no KV cache",
    "a text decoder takes past keys and values and returns new ones; this model does not",
    "export a decoder with --task text-generation-with-past; for any other model list what has no "
    "kernel: pocketcl inspect MODEL --unsupported",
)


def refuse_leftovers(model: ir.Model, misses: Sequence[Missed]) -> None:
    """Raise if a node has no kernel or a dimension is open; `misses` are those of all passes."""
    roles, fixed = roles_of(model), fixed_sizes(model)
    # nodes without a kernel: report the likeliest cause, not its consequences
    left = [n for n in model.graph if unsupported(n, roles.tokens) and not _is_unresolved(n)]
    if not roles.cache:
        raise PocketError(*NO_CACHE)
    if (cache := next(_unwritten(model), None)) is not None:
        raise _no_state(cache, misses)
    if left:
        node = min(left, key=lambda node: _how_likely_a_consequence(node, misses))
        missed = _missed(node, misses)
        if fixed and _is_standard(node):
            where = f"{node.op_type} {node.name} can't be computed for other sizes"
            raise exported_for(fixed, (missed or [where])[0])
        raise _no_kernel(node, unsupported(node, roles.tokens), missed)
    # dimensions that are not resolved
    names = unresolved_dims(model)
    if names and fixed:
        raise exported_for(fixed, f"a dimension of {names[0]} depends on them")
    if names:
        value = next(v for n in model.graph for v in n.outputs if v.name == names[0])
        raise PocketError(
            f"a dimension of {names[0]} cannot be resolved",
            f"its shape is {value.shape}, which depends on the data ({len(names)} such values)",
            "export with fixed sizes there; only batch, sequence and past may vary",
        )


def _unwritten(model: ir.Model) -> Iterator[Cache]:
    """Caches that no state stands for."""
    inputs = {value.name for value in model.graph.inputs}
    return (cache for cache in caches(model.graph) if cache.past in inputs)


def _no_state(cache: Cache, misses: Sequence[Missed]) -> PocketError:
    node = cache.node
    shape = next(v.shape for v in node.inputs if v is not None and v.shape is not None)
    reasons = [miss.reason for miss in misses if miss.node in (node.name, node.outputs[0].name)]
    return PocketError(
        f"the cache {cache.past} {shape} cannot be written in place by {node.op_type} {node.name}",
        (reasons or ["it is extended in a way that is not known"])[0],
        "export with a cache that grows (transformers' DynamicCache), or one of fixed size that "
        "TensorScatter or index_copy writes at the places of new tokens",
    )


def _is_unresolved(node: ir.Node) -> bool:
    """Whether kernels would compute a node, were its values' types and sizes known."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    unknown = any(value.dtype is None and value.shape is None for value in values)
    return unknown and (node.domain, node.op_type) in LOWERINGS


def _how_likely_a_consequence(
    node: ir.Node, misses: Sequence[Missed]
) -> tuple[bool, bool, bool, bool]:
    """Sort key: the cause before its consequences, ordinary ops that it left unfused."""
    explained = bool(_missed(node, misses))
    known = node.op_type in {op_type for _, op_type in LOWERINGS}
    return _is_standard(node), not explained, known, node.op_type in SHAPE_OPS


def _is_standard(node: ir.Node) -> bool:
    return node.domain in DOMAINS and (node.domain != "" or onnx.defs.has(node.op_type))


def _missed(node: ir.Node, misses: Sequence[Missed]) -> list[str]:
    """Why passes left this node alone or, if they didn't reach it, others of its op."""
    alike = [miss for miss in misses if miss.op_type == node.op_type]
    own = [miss for miss in alike if miss.node == node.name]
    return [str(miss) for miss in own or alike]


def _no_kernel(node: ir.Node, reason: str | None, missed: list[str]) -> PocketError:
    return PocketError(
        f"no kernel for {node.op_type} at {node.name} ({_type_of(node)} {node.outputs[0].shape})",
        "; ".join([reason or "there is none", *missed[:1]]),
        "list every such node with pocketcl inspect MODEL --unsupported",
    )


def _type_of(node: ir.Node) -> str:
    dtype = node.outputs[0].dtype
    return "unknown type" if dtype is None else dtype.name.lower()
