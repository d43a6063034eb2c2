"""The graph passes, in order. A pass edits the model in place and returns what it did.

ONNX Runtime can run the model after every pass (`defined` attaches the `pocket` ops as functions):
that is how each is tested, and how `pocketcl verify` finds the one that broke something.
"""

from collections.abc import Callable, Iterator

import onnx_ir

from onnx_passes.analysis.fixed_sizes import naming_fixed_sizes
from onnx_passes.analysis.roles import has_roles
from onnx_passes.attention_caches import attention_caches
from onnx_passes.cancel_transposes import cancel_transposes
from onnx_passes.canonicalize_dims import canonicalize_dims
from onnx_passes.check_nodes import check_nodes
from onnx_passes.choose_branches import choose_branches
from onnx_passes.code_records import code_records
from onnx_passes.count_inputs import count_inputs
from onnx_passes.count_sizes import count_sizes
from onnx_passes.dequantize import dequantize
from onnx_passes.drop_constant_inputs import drop_constant_inputs
from onnx_passes.fold_constants import fold_constants
from onnx_passes.free_names import free_names
from onnx_passes.fuse_attention import fuse_attention
from onnx_passes.fuse_bias import fuse_bias
from onnx_passes.fuse_glu import fuse_glu
from onnx_passes.fuse_group_topk import fuse_group_topk
from onnx_passes.fuse_layernorm import fuse_layernorm
from onnx_passes.fuse_low_rank import fuse_low_rank
from onnx_passes.fuse_qkv import fuse_qkv
from onnx_passes.fuse_residual_norm import fuse_residual_norm
from onnx_passes.fuse_rmsnorm import fuse_rmsnorm
from onnx_passes.fuse_rope import fuse_rope
from onnx_passes.gather_experts import gather_experts
from onnx_passes.grow_caches import grow_caches
from onnx_passes.inline_bodies import inline_bodies
from onnx_passes.inline_functions import inline_functions
from onnx_passes.ir.edit import drop_unused, drop_unused_inputs
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import COUNTERS, GraphError
from onnx_passes.ir.infer import infer
from onnx_passes.ir.ops import defined
from onnx_passes.ir.rules import Missed, Outcome
from onnx_passes.join_shared_expert import join_shared_expert
from onnx_passes.keep_all_logits import keep_all_logits
from onnx_passes.kv_in_place import kv_in_place
from onnx_passes.last_rows import last_rows
from onnx_passes.mask_ffn import mask_ffn
from onnx_passes.order_columns import order_columns
from onnx_passes.plain_ops import plain_ops
from onnx_passes.prune import prune
from onnx_passes.quantize_e0m4 import quantize_e0m4
from onnx_passes.raise_opset import raise_opset
from onnx_passes.read_integer_products import read_integer_products
from onnx_passes.read_quantized_weights import read_quantized_weights
from onnx_passes.refit_ffn import refit_ffn
from onnx_passes.resolve_shapes import resolve_shapes
from onnx_passes.sort_nodes import sort_nodes
from onnx_passes.split_gqa import split_gqa
from onnx_passes.split_moe import split_moe
from onnx_passes.split_variadic import split_variadic
from onnx_passes.sum_experts import sum_experts
from onnx_passes.tabulate import tabulate
from onnx_passes.unbundle import unbundle
from onnx_passes.unshift_softmax import unshift_softmax
from onnx_passes.widen_floats import widen_floats

Pass = Callable[[onnx_ir.Model], Outcome]

# From whatever a file holds to a graph whose inputs have roles and whose sizes are symbols.
INTAKE: tuple[Pass, ...] = (
    drop_constant_inputs,  # first: weights are constants to all that follows
    sort_nodes,  # inlining goes through nodes in order
    inline_functions,  # so that there is one graph to check
    check_nodes,  # before anything relies on inputs and attributes
    choose_branches,  # before anything looks at nodes: those in branches are not looked at
    keep_all_logits,
    raise_opset,  # only valid nodes can be converted
    dequantize,  # so that floats are floats, with or without codes
    read_integer_products,  # beside it: codes that are multiplied as integers
    split_moe,  # beside it: mixtures of experts, with codes or without
    read_quantized_weights,  # after all of them: it refuses what is quantised still
    prune,  # after weights are read: their former parts go, too
    free_names,  # before shapes are inferred: they are computed with the names
    widen_floats,  # before roles: casts hide what inputs are for
    canonicalize_dims,
    count_inputs,  # needs roles and counters; all later passes may then evaluate what reads them
)
PASSES: tuple[Pass, ...] = (
    *INTAKE,
    grow_caches,  # before sizes are asked for: those of fixed caches are the exporter's choice
    plain_ops,  # so that every rule below finds ONNX's own spelling
    unbundle,  # rules know MatMul; plain_ops makes Gemms, too
    split_variadic,  # rules know ops of two operands
    fold_constants,  # rules look for constants, and exporters repeat them
    resolve_shapes,  # so that what is left is arithmetic on tensors
    unshift_softmax,  # before attention is looked for
    sum_experts,  # before gated units look at what experts compute
    gather_experts,  # beside it: another spelling
    order_columns,  # of experts; gated units read halves
    fuse_group_topk,  # before constants of open sizes become tables
    fuse_rmsnorm,
    fuse_layernorm,  # an RMSNorm of x less its mean
    fuse_rope,  # before attention: q and k become single values
    split_gqa,  # beside it: the fused op of the GenAI builder reaches the same form
    attention_caches,  # beside it: ONNX's own op, too
    fuse_attention,  # needs the caches still spelled as Concat
    tabulate,  # what no rule above evaluated
    count_sizes,  # what is left of them as numbers; nothing but Concats reads a cache's size then
    kv_in_place,  # needs attention: it owns the cache
    cancel_transposes,  # rope, attention and states are token-major: the exporters' transposes meet
    fuse_bias,
    fuse_glu,  # needs biases in the matmuls that it merges
    join_shared_expert,  # needs the units of all experts
    fuse_qkv,  # needs the transposes gone
    fuse_low_rank,  # of attention that has no projections to merge as heads
    fuse_residual_norm,
    last_rows,  # it splits the final norm from what feeds later layers
    inline_bodies,  # after all fusions, which look for whole ops
    refit_ffn,  # before weights have codes
    quantize_e0m4,  # late: every weight has its final form, and is not merged again
    mask_ffn,  # it has codes of its own
    code_records,  # last: it asks how weights are stored
)


def rewrite(model: onnx_ir.Model) -> Iterator[tuple[str, Outcome]]:
    """Run PASSES in order, yielding each one's name and outcome when the model is whole again."""
    for run in PASSES:
        yield run.__name__, _whole_after(run, model)


def intake(model: onnx_ir.Model) -> None:
    """Run only the passes of the intake: roles, symbols and counters, of the model as it came."""
    for run in INTAKE:
        _whole_after(run, model)


def why(model: onnx_ir.Model, name: str) -> tuple[Missed, ...]:
    """Run the passes up to `name` and return where its rules missed."""
    for done, outcome in rewrite(model):
        if done == name:
            return outcome.misses
    raise ValueError(f"no pass named {name}; there are {', '.join(run.__name__ for run in PASSES)}")


def _whole_after(run: Pass, model: onnx_ir.Model) -> Outcome:
    """What the pass did; then what nothing reads goes, and shapes are inferred.

    Not before there are roles: `prune` has its place, and the exporter's dimensions mean nothing.
    The counters stay even where nothing reads them any more. Where the pass changed nothing, shapes
    hold on: inferring them is half of a compile.
    """
    with naming_fixed_sizes(model):
        outcome = run(model)
        if has_roles(model) and outcome.rewrites:
            drop_unused(model)
            drop_unused_inputs(model, keep=COUNTERS)
            infer(model)
    return outcome


__all__ = [
    "INTAKE",
    "PASSES",
    "Facts",
    "GraphError",
    "Missed",
    "Outcome",
    "Pass",
    "code_records",
    "defined",
    "intake",
    "mask_ffn",
    "rewrite",
    "why",
]
