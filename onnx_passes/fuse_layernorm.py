"""RMSNorm of x less its mean, perhaps plus a vector  ->  LayerNormalization (Ba et al. 2016)."""

import onnx_ir as ir

from onnx_passes.analysis.rms import check_along_rows
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import (
    DOMAIN,
    dim,
    is_constant,
    needed,
    other,
    producer,
    rank,
    sole_use,
)
from onnx_passes.ir.rules import Outcome, Rules, apply


def fuse_layernorm(model: ir.Model) -> Outcome:
    """Replace every LayerNorm that is spelled out."""
    return apply(model, RULES)


def _fuse(_: ir.Model, node: ir.Node) -> bool:
    centred = producer(node.inputs[0], "Sub")
    mean = None if centred is None else producer(centred.inputs[1], "ReduceMean")
    if centred is None or mean is None or mean.inputs[0] is not centred.inputs[0]:
        return False
    check_along_rows(mean)
    end, vectors = node, [needed(node, 1)]
    add = sole_use(node.outputs[0], "Add")
    beta = None if add is None else other(add, node.outputs[0])
    if add is not None and beta is not None and _is_vector(beta, dim(node.inputs[0], -1)):
        end, vectors = add, [*vectors, beta]
    eps = node.attributes["eps"].as_float()
    y = Builder(end).op("LayerNormalization", centred.inputs[0], *vectors, axis=-1, epsilon=eps)
    replace(end, y)
    return True


def _is_vector(value: ir.Value, width: int | None) -> bool:
    return is_constant(value) and rank(value) == 1 and dim(value, 0) == width


RULES: Rules = {(DOMAIN, "RmsNorm"): _fuse}
