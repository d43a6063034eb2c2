"""Ops of ONNX Runtime's own  ->  ONNX's ops that compute the same: one rule for each, in a table.

Its optimizer writes them (levels extended and all, onnxruntime.transformers, optimum's -O2 to -O4),
and so do builders. Semantics: ONNX Runtime's contrib operators. An attribute that a rule doesn't
know is a Miss: it may change what is computed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onnx_passes import plain_rules as rules
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import Miss, check_attributes, explain
from onnx_passes.plain_attention import multi_head_attention


@dataclass(frozen=True)
class Rule:
    """What a node of an op becomes; `attributes` are all that are understood."""

    rewrite: Callable[[ir.Model, Builder, ir.Node], rules.Values]
    attributes: tuple[str, ...] = ()


def plain_ops(model: ir.Model) -> int:
    """Replace every node that has a rule; return how many."""
    count = 0
    for node in list(model.graph):
        rule = RULES.get(node.op_type) if node.domain == "com.microsoft" else None
        if rule is None:
            continue
        try:
            check_attributes(node, rule.attributes)
            replace(node, *rule.rewrite(model, Builder(node), node))
            count += 1
        except Miss as miss:
            explain(node, miss)
    return count


_TURNS = ("alpha", "transA", "transB")
_FUSED = ("activation", "activation_alpha", "activation_beta", "activation_gamma")
RULES = {
    "QuickGelu": Rule(rules.quick_gelu, ("alpha",)),
    "Gelu": Rule(rules.gelu),
    "BiasGelu": Rule(rules.gelu),
    "FastGelu": Rule(rules.fast_gelu),
    "FusedMatMul": Rule(rules.matmul, (*_TURNS, "transBatchA", "transBatchB")),
    "TransposeMatMul": Rule(rules.matmul, _TURNS),
    "FusedGemm": Rule(rules.gemm, (*_TURNS, "beta", *_FUSED)),
    "SkipLayerNormalization": Rule(rules.skip_layer_norm, ("epsilon",)),
    "BiasAdd": Rule(rules.bias_add),
    "Trilu": Rule(rules.same, ("upper",)),
    "MultiHeadAttention": Rule(
        multi_head_attention, ("num_heads", "scale", "unidirectional", "mask_filter_value")
    ),
}
