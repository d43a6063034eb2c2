"""Ops of ONNX Runtime's own  ->  ONNX's ops that compute the same: one rule for each, in a table.

Its optimizer writes them (levels extended and all, onnxruntime.transformers, optimum's -O2 to -O4),
and so do builders. Semantics: ONNX Runtime's contrib operators. An attribute that a rule doesn't
know is a Miss: it may change what is computed. ONNX's own Gemm becomes what it is short for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onnx_passes import plain_rules as rules
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import check_attributes
from onnx_passes.ir.rules import Outcome, Rules, apply
from onnx_passes.plain_attention import multi_head_attention


@dataclass(frozen=True)
class Spelling:
    """What a node of an op becomes; `attributes` are all that are understood."""

    spell: Callable[[ir.Model, Builder, ir.Node], rules.Values]
    attributes: tuple[str, ...] = ()

    def __call__(self, model: ir.Model, node: ir.Node) -> bool:
        """Rewrite the node, as a rule does."""
        check_attributes(node, self.attributes)
        replace(node, *self.spell(model, Builder(node), node))
        return True


def plain_ops(model: ir.Model) -> Outcome:
    """Replace every node that has a rule."""
    return apply(model, RULES)


_SIDES = ("alpha", "transA", "transB")
_FUSED = ("activation", "activation_alpha", "activation_beta", "activation_gamma")
SPELLINGS = {
    "QuickGelu": Spelling(rules.quick_gelu, ("alpha",)),
    "Gelu": Spelling(rules.gelu),
    "BiasGelu": Spelling(rules.gelu),
    "FastGelu": Spelling(rules.fast_gelu),
    "FusedMatMul": Spelling(rules.matmul, (*_SIDES, "transBatchA", "transBatchB")),
    "TransposeMatMul": Spelling(rules.matmul, _SIDES),
    "FusedGemm": Spelling(rules.fused_gemm, (*_SIDES, "beta", *_FUSED)),
    "SkipLayerNormalization": Spelling(rules.skip_layer_norm, ("epsilon",)),
    "BiasAdd": Spelling(rules.bias_add),
    "GatedAdd": Spelling(rules.gated_add),
    "Trilu": Spelling(rules.same, ("upper",)),
    "MultiHeadAttention": Spelling(
        multi_head_attention, ("num_heads", "scale", "unidirectional", "mask_filter_value")
    ),
}
RULES: Rules = {
    **{("com.microsoft", op_type): rule for op_type, rule in SPELLINGS.items()},
}
