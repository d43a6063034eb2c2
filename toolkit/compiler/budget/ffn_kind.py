"""Which kind of feed-forward network it is, by what its activations compute."""

from __future__ import annotations

import numpy as np

from onnx_passes.analysis.experts.networks import ExpertNetwork
from onnx_passes.analysis.experts.units import MOVED
from onnx_passes.analysis.ffn import Ffn
from onnx_passes.ir.graph import needed, producer, through
from opencl_kernels.formats import Array
from opencl_kernels.map.expression import Node, evaluate
from opencl_kernels.records.neurons import activation

TRIED = np.concatenate([-np.logspace(2, -3, 40), [0], np.logspace(-3, 2, 40)])  # arguments
GELU = "0.5 * v * (1.0 + Erf(v * 0.7071067811865476))"
GATED = {"relu": "reglu", "silu": "swiglu", "gelu": "geglu"}


def kind_of(ffn: Ffn) -> str:
    """As toolkit/offload/legality.py calls it."""
    up = _kind(activation(ffn.up_act))
    if ffn.gate is None:
        return up
    act = _kind(activation(ffn.act))
    return "drelu" if act == up == "relu" else GATED.get(act, "swiglu")


def kind_of_experts(network: ExpertNetwork) -> str:
    """Of one expert, by its unit's name; a unit that has none is zero nowhere."""
    unit = producer(through(needed(network.last, 0), *MOVED), "Glu", "Relu")
    if unit is None:
        return "swiglu" if network.gated else "silu"
    return GATED[unit.overload] if unit.op_type == "Glu" else "relu"


def applied(node: Node, values: Array) -> Array:
    """What an activation makes of values, float32."""
    return np.asarray(evaluate(node, {"v": values}), np.float32)


def _kind(node: Node) -> str:
    """Of an activation; one that is none of those known is zero nowhere, as `silu` is."""
    found = applied(node, TRIED)
    if not found[TRIED <= 0].any():
        positive = TRIED[TRIED > 0]
        return "sqrelu" if np.allclose(found[TRIED > 0], positive**2, rtol=1e-4) else "relu"
    gelu = np.asarray(evaluate(activation(GELU), {"v": TRIED}))
    return "gelu" if np.allclose(found, gelu, atol=2e-3) else "silu"
