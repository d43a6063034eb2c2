"""The graph passes, in order. A pass edits the model in place and returns how much it rewrote.

ONNX Runtime can run the model after every pass (`defined` attaches the `pocket` ops as functions):
that is how each is tested, and how `pocketcl verify` finds the one that broke something.
"""

from collections.abc import Callable, Iterator

import onnx_ir

from onnx_passes.analysis.fixed_sizes import naming_fixed_sizes
from onnx_passes.cancel_transposes import cancel_transposes
from onnx_passes.canonicalize_dims import COUNTERS, canonicalize_dims
from onnx_passes.fold_constants import fold_constants
from onnx_passes.fuse_attention import fuse_attention
from onnx_passes.fuse_bias import fuse_bias
from onnx_passes.fuse_elementwise import fuse_elementwise
from onnx_passes.fuse_glu import fuse_glu
from onnx_passes.fuse_qkv import fuse_qkv
from onnx_passes.fuse_residual_norm import fuse_residual_norm
from onnx_passes.fuse_rmsnorm import fuse_rmsnorm
from onnx_passes.fuse_rope import fuse_rope
from onnx_passes.ir.edit import drop_unused, drop_unused_inputs
from onnx_passes.ir.graph import GraphError, explaining
from onnx_passes.ir.infer import infer
from onnx_passes.ir.ops import defined
from onnx_passes.kv_in_place import kv_in_place
from onnx_passes.last_rows import last_rows
from onnx_passes.plain_ops import plain_ops
from onnx_passes.quantize_e0m4 import quantize_e0m4
from onnx_passes.resolve_shapes import resolve_shapes
from onnx_passes.split_gqa import split_gqa
from onnx_passes.split_variadic import split_variadic

Pass = Callable[[onnx_ir.Model], int]

PASSES: tuple[Pass, ...] = (
    canonicalize_dims,  # first: later passes compare dimensions and ask for roles
    plain_ops,  # so that every rule below finds ONNX's own spelling
    split_variadic,  # rules know ops of two operands
    fold_constants,  # rules look for constants, and exporters repeat them
    resolve_shapes,  # so that what is left is arithmetic on tensors
    fuse_rmsnorm,
    fuse_rope,  # before attention: q and k become single values
    split_gqa,  # beside it: the fused op of the GenAI builder reaches the same form
    fuse_attention,  # needs the caches still spelled as Concat
    kv_in_place,  # needs attention: it owns the cache
    cancel_transposes,  # rope, attention and states are token-major: the exporters' transposes meet
    fuse_bias,
    fuse_glu,  # needs biases in the matmuls that it merges
    fuse_qkv,  # needs the transposes gone
    fuse_residual_norm,
    last_rows,  # it splits the final norm from what feeds later layers
    fuse_elementwise,  # what no other pass knew
    quantize_e0m4,  # last: every weight has its final form, and codes are not merged again
)


def rewrite(model: onnx_ir.Model) -> Iterator[tuple[str, int]]:
    """Run PASSES in order, yielding (name, rewrites) after each, when the model is whole again."""
    for run in PASSES:
        with naming_fixed_sizes(model):
            count = run(model)
            _mend(model, count)
        yield run.__name__, count


def why(model: onnx_ir.Model, name: str) -> list[str]:
    """Run the passes up to `name` and return why its rules missed where they began to match."""
    for run in PASSES:
        with explaining() as reasons, naming_fixed_sizes(model):
            _mend(model, run(model))
        if run.__name__ == name:
            return reasons
    raise ValueError(f"no pass named {name}; there are {', '.join(run.__name__ for run in PASSES)}")


def _mend(model: onnx_ir.Model, rewrites: int) -> None:
    """Masks and positions go when nothing reads them any more; the counters stay.

    Shapes hold on where the pass changed nothing: inferring them is half of a compile.
    """
    if rewrites:
        drop_unused(model)
        drop_unused_inputs(model, keep=COUNTERS)
        infer(model)


__all__ = ["PASSES", "GraphError", "Pass", "defined", "rewrite", "why"]
