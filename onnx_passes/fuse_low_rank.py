"""Products of one value, a norm of which makes another product's input  ->  one product.

Latent attention (DeepSeek-V2, 2024, section 2.1) makes queries of one row of low rank, keys and
values of another, and the keys' rotated part beside that: what makes them reads the same value.
"""

from collections.abc import Mapping
from functools import partial

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import DOMAIN, dim, linear, needed, through
from onnx_passes.ir.rules import Done, Miss, Outcome, apply
from onnx_passes.weights.concat import merged

MOVES = ("Split", "Slice", "Reshape", "Transpose")


def fuse_low_rank(model: ir.Model) -> Outcome:
    """Merge the products before every norm that stands between products."""
    places = {node: place for place, node in enumerate(model.graph)}
    return apply(model, {(DOMAIN, "RmsNorm"): partial(_fuse, places)})


def _fuse(places: Mapping[ir.Node, int], _: ir.Model, norm: ir.Node) -> Done:
    down = linear(through(needed(norm, 0), *MOVES))
    readers = _readers(norm.outputs[0])
    if down is None or not readers or not all(map(_is_linear, readers)):
        return False
    nodes = [node for node in _readers(needed(down, 0)) if _is_linear(node) and _is_split(node)]
    nodes.sort(key=lambda node: places.get(node, len(places)))
    if down not in nodes or len(nodes) < 2:
        return False
    widths = [dim(node.outputs[0], -1) for node in nodes]
    sizes = [width for width in widths if width is not None]
    if len(sizes) < len(nodes):
        raise Miss("the width of a projection is not known")
    b = Builder(nodes[0])
    whole, loss = merged(b, nodes, "+".join(node.outputs[0].name or "" for node in nodes))
    parts = b.ops("Split", len(nodes), whole, b.target(*sizes), axis=-1)
    for node, part in zip(nodes, parts, strict=True):
        replace(node, part)
    return loss or True


def _readers(value: ir.Value) -> list[ir.Node]:
    return list(dict.fromkeys(use.node for use in value.uses()))


def _is_linear(node: ir.Node) -> bool:
    return linear(node.outputs[0]) is node


def _is_split(node: ir.Node) -> bool:
    """Whether a projection is only cut into pieces and normed: what else is done may fuse with it.

    Nor is it anything that the model gives.
    """
    y = node.outputs[0]
    normed = {(DOMAIN, "RmsNorm"), *(("", op) for op in MOVES)}
    return not y.is_graph_output() and {(n.domain, n.op_type) for n in _readers(y)} <= normed
