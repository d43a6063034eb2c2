"""Look-ahead: while a network is computed, what the next one will need is read, as far as it shows.

The next network's predictor looks at this one's residual, normalised as the next one will have it:
that residual is only what this network and the next attention add to it away. What is read so
changes no answer; who needs none of it doesn't wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
import sympy

from onnx_passes.ir.graph import DOMAIN, attribute, needed
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.drafts import Draft, PrefetchDraft
from toolkit.compiler.lowering.norm import lower_rmsnorm
from toolkit.compiler.lowering.products.matmul import lower_matmul
from toolkit.compiler.lowering.values import stored
from toolkit.compiler.weights.records import Tabled
from toolkit.plan.schema import Select


def prefetch_next(b: PhaseBuilder, tabled: Tabled) -> Iterator[PrefetchDraft]:
    """Of a token, for the network behind this one, if both have predictors and norms, and if it is
    worth it at any of the plan's points."""
    behind = _behind(b, tabled)
    if behind is None or not behind.ahead or b.rows(tabled.ffn.x) != sympy.Integer(1):
        return
    scores, chosen = behind.ffn.scores, behind.ffn.chosen
    residual, norm = residual_of(tabled.ffn.x), behind.ffn.x.producer()
    if None in (scores, tabled.ffn.chosen, residual) or residual_of(behind.ffn.x) is None:
        return
    assert norm is not None and chosen is not None and residual is not None and scores is not None
    stored(b, residual)  # whoever else reads it must not find it made by what may be left out
    first = len(b.steps)
    with _copied(b, norm, residual, scores) as seen:
        source = stored(b, seen).ref
    drafts = [each for each in b.steps[first:] if isinstance(each, Draft)]
    del b.steps[first:]
    select = Select("above", source, float(attribute(chosen, "threshold", 0.0)))
    yield PrefetchDraft(f"{behind.name}.ahead", behind.table, select, tuple(drafts))


def _behind(b: PhaseBuilder, tabled: Tabled) -> Tabled | None:
    networks = list(dict.fromkeys(each for each in b.tabled.values() if isinstance(each, Tabled)))
    at = networks.index(tabled) + 1
    return networks[at] if at < len(networks) else None


def residual_of(x: ir.Value) -> ir.Value | None:
    """What x is the RMS norm of."""
    norm = x.producer()
    if norm is None or norm.domain != DOMAIN:
        return None
    if norm.op_type == "AddRmsNorm":
        return norm.outputs[0]
    return needed(norm, 0) if norm.op_type == "RmsNorm" else None


@contextmanager
def _copied(
    b: PhaseBuilder, norm: ir.Node, residual: ir.Value, scores: ir.Value
) -> Iterator[ir.Value]:
    """The scores of another residual, lowered as if the graph had them."""
    last = scores.producer()
    assert last is not None
    low = needed(last, 0).producer()
    assert low is not None
    gamma = needed(norm, len(norm.inputs) - 1)
    eps = attribute(norm, "eps")
    nodes = [ir.node("RmsNorm", [residual, gamma], {"eps": eps}, domain=DOMAIN)]
    for like in (low, last):
        inputs = [nodes[-1].outputs[0], *like.inputs[1:]]
        nodes.append(ir.node(like.op_type, inputs, domain=like.domain))
    for made, like in zip(nodes, (norm, low, last), strict=True):
        value = like.outputs[-1]
        made.outputs[0].name = f"{value.name}.ahead"
        made.outputs[0].shape, made.outputs[0].type = value.shape, value.type
        b.originals[made.outputs[0]] = value
    try:
        lower_rmsnorm(b, nodes[0])
        lower_matmul(b, nodes[1])
        lower_matmul(b, nodes[2])
        yield nodes[2].outputs[0]
    finally:
        for made in reversed(nodes):
            for number in range(len(made.inputs)):
                made.replace_input_with(number, None)
