"""Where heads come from: the columns of a projection, through norms and rotations.

What lies between only moves elements, so it is followed on an array of their numbers: whatever the
exporter's spelling and however the weight orders its heads, the numbers that arrive say which
column each element of a head is.
"""

import math
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.heads.moves import followed, moves, shape_at
from onnx_passes.ir.graph import DOMAIN, attribute, dim, is_constant, is_op, needed, operand, rank
from onnx_passes.ir.rules import Miss

_STEPS = ("Rope", "RmsNorm", "LayerNormalization")


class Heads(NamedTuple):
    """Heads [B, S, heads, width] and what they are made from."""

    source: ir.Value  # [B, S, N] or [B * S, N]
    columns: np.ndarray  # [heads, width]: of the source
    steps: tuple[ir.Node, ...]  # norms and rotations, in order
    nodes: tuple[ir.Node, ...]  # these and all moves


def path_to(value: ir.Value) -> list[ir.Value]:
    """The value, and before it what it was through moves, norms and rotations."""
    path = [value]
    while (node := path[0].producer()) is not None and (moves(node) or is_step(node)):
        path.insert(0, needed(node, 0))
    return path


def heads_of(path: list[ir.Value], swapped: bool = False) -> Heads:
    """The heads that the last value of a path is; swapped: it is [B, heads, S, width]."""
    source, places = path[0], _ending(path, swapped)
    width = dim(source, -1)
    if places.ndim != 4 or width is None:
        raise Miss("heads are not split from a projection")
    batch, seq, *_ = places.shape
    columns = places - width * np.arange(batch * seq).reshape(batch, seq, 1, 1)
    own = columns.min() >= 0 and columns.max() < width and (columns == columns[:1, :1]).all()
    if not own or math.prod(shape_at(source)[:-1]) != batch * seq:
        raise Miss("heads are not split from the columns of a projection")
    for i, value in enumerate(path):
        if i and is_step(value.producer()):
            _check_step(path[i:], swapped)
    nodes = tuple(node for value in path[1:] if (node := value.producer()) is not None)
    return Heads(source, columns[0, 0], tuple(filter(is_step, nodes)), nodes)


def _ending(path: list[ir.Value], swapped: bool) -> np.ndarray:
    """The numbers of the first value's elements where the last value has them, token-major."""
    moved = [value for value in path[1:] if not is_step(value.producer())]
    places = followed([path[0], *moved])
    return places.swapaxes(1, 2) if swapped and places.ndim == 4 else places


def is_step(node: ir.Node | None) -> bool:
    """Whether a node is a norm, or a rotation."""
    if node is None or not is_op(node, *_STEPS):
        return False
    return node.domain == (DOMAIN if node.op_type != "LayerNormalization" else "")


def _check_step(path: list[ir.Value], swapped: bool) -> None:
    """A Miss unless a step is of whole heads as they are at the end of the path, or of them all."""
    node, places = path[0].producer(), _ending(path, swapped)
    assert node is not None
    heads, width = places.shape[-2:]
    stays = np.array_equal(places.reshape(-1), np.arange(places.size))
    if node.op_type == "Rope":
        # by then it is what it becomes: [B, S, heads, width]
        if not stays:
            raise Miss("heads are moved after they are rotated")
        return
    if node.op_type == "RmsNorm" and stays and dim(path[0], -1) == heads * width:
        return
    rows = places - np.arange(width)
    if dim(path[0], -1) != width or (rows % width).any() or (rows != rows[..., :1]).any():
        raise Miss("what is normed is not a head")
    if node.op_type == "LayerNormalization":
        _check_layer_norm(node, width)


def _check_layer_norm(node: ir.Node, width: int) -> None:
    if attribute(node, "axis", -1) not in (-1, (rank(node.inputs[0]) or 0) - 1):
        raise Miss("what is normed is more than a head")
    for vector in (needed(node, 1), operand(node, 2)):
        if vector is not None and (not is_constant(vector) or vector.shape != [width]):
            raise Miss("the scale of a norm is not a constant vector as long as a head")
