"""TopK of scores of which only those of the best groups are left  ->  pocket.GroupTopK, or TopK.

So DeepSeek-V3 and GLM choose experts: a group counts the sum of its two greatest scores, or its
greatest; a mask of the groups that count most is scattered into zeros and repeated for each score.
Where all groups are kept, there are none.
"""

from typing import Any, NamedTuple

import onnx_ir as ir

from onnx_passes.analysis.routing import fills_with
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import (
    DOMAIN,
    attribute,
    dim,
    integers,
    needed,
    operand,
    producer,
    rank,
    scalar,
    through,
)
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply

MOVED = ("Reshape", "Unsqueeze", "Squeeze")


class Masked(NamedTuple):
    """Scores that a mask [.., E] of truth values leaves as they are, or fills."""

    scores: ir.Value
    mask: ir.Value
    keeps: bool  # where it is true
    fill: float


class Counted(NamedTuple):
    """What groups count: the sum of so many of their greatest scores [.., G, E / G]."""

    scores: ir.Value
    best: int


def fuse_group_topk(model: ir.Model) -> Outcome:
    """Replace every TopK of such scores."""
    return apply(model, RULES)


def _fuse(_: ir.Model, node: ir.Node) -> bool:
    masked, k = _masked(operand(node, 0)), _count(node)
    choice = None if masked is None else _choice(masked)
    if masked is None or choice is None or k is None:
        return False
    if not _is_of_greatest(node):
        raise Miss("it looks for the least of what is left, or along another axis")
    kept, groups, size = _count(choice), dim(choice.inputs[0], -1), dim(masked.scores, -1)
    counted = _counted(needed(choice, 0))
    if counted is None or kept is None or groups is None or size is None:
        raise Miss("what a group counts is not known to be a sum of its greatest scores")
    if through(counted.scores, *MOVED) is not through(masked.scores, *MOVED):
        raise Miss("groups are chosen by other scores than those that they leave")
    if dim(counted.scores, -2) != groups or dim(counted.scores, -1) != size // groups:
        raise Miss("its groups are no runs of equal length")
    b = Builder(node)
    if kept == groups:
        replace(node, *b.ops("TopK", 2, masked.scores, needed(node, 1), axis=-1))
        return True
    numbers: dict[str, Any] = {"groups": groups, "best": counted.best, "kept": kept, "k": k}
    made = b.ops("GroupTopK", 2, masked.scores, domain=DOMAIN, fill=masked.fill, **numbers)
    replace(node, *made)
    return True


def _masked(value: ir.Value | None) -> Masked | None:
    """Where(mask, scores, fill), or Where(mask, fill, scores)."""
    where = producer(value, "Where")
    if where is None:
        return None
    mask, keeps = needed(where, 0), True
    while (turned := producer(mask, "Not")) is not None:
        mask, keeps = needed(turned, 0), not keeps
    for scores, filler, kept in ((1, 2, keeps), (2, 1, not keeps)):
        fill = scalar(operand(where, filler))
        if fill is not None:
            return Masked(needed(where, scores), mask, kept, fill)
    return None


def _choice(masked: Masked) -> ir.Node | None:
    """The TopK whose groups a mask keeps: ones among zeros, repeated for each score of a group."""
    flags = through(masked.mask, "Cast")
    spread = producer(through(flags, "Reshape"), "Expand")
    marks = through(operand(spread, 0) if spread else None, *MOVED, "Cast")
    scatter = producer(marks, "ScatterElements")
    chosen = None if scatter is None else producer(operand(scatter, 1), "TopK")
    if spread is None or scatter is None or chosen is None:
        return None
    groups, size = dim(marks, -1), dim(masked.scores, -1)
    if groups is None or size is None or size % groups or not _is_of_greatest(chosen):
        raise Miss("the groups that a mask keeps are not the best of equal ones")
    whole = flags is not None and flags.shape == masked.scores.shape
    if not whole or not _repeats(spread, groups, size // groups):
        raise Miss("a mask is not that of a group for each of its scores")
    if attribute(scatter, "reduction", "none") != "none" or not _is_along_last(scatter):
        raise Miss("marks of groups are not scattered along them")
    marked = [fills_with(scatter.inputs[i]) for i in (0, 2)]
    if marked != ([0, 1] if masked.keeps else [1, 0]):
        raise Miss("a mask is not made of ones among zeros")
    return chosen if scatter.inputs[1] is chosen.outputs[1] else None


def _repeats(spread: ir.Node, groups: int, times: int) -> bool:
    """Whether an Expand gives [.., G, times] of [.., G, 1]."""
    narrow, wide = spread.inputs[0], spread.outputs[0]
    before = (dim(narrow, -2), dim(narrow, -1))
    return before == (groups, 1) and (dim(wide, -2), dim(wide, -1)) == (groups, times)


def _counted(value: ir.Value) -> Counted | None:
    """The greatest scores of every group, added up."""
    total = producer(through(value, *MOVED), "ReduceSum", "ReduceMax", "TopK")
    if total is None:
        return None
    if total.op_type == "TopK":
        return _greatest(total) if _count(total) == 1 else None
    if integers(operand(total, 1)) not in ([-1], [(rank(total.inputs[0]) or 0) - 1]):
        return None
    if total.op_type == "ReduceMax":
        return Counted(needed(total, 0), 1)
    found = producer(operand(total, 0), "TopK")
    same = found is not None and found.outputs[0] is total.inputs[0]
    return _greatest(found) if found is not None and same else None


def _greatest(node: ir.Node) -> Counted | None:
    best = _count(node)
    return Counted(needed(node, 0), best) if best and _is_of_greatest(node) else None


def _is_of_greatest(node: ir.Node) -> bool:
    return bool(attribute(node, "largest", 1)) and _is_along_last(node, -1)


def _is_along_last(node: ir.Node, default: int = 0) -> bool:
    size = rank(node.inputs[0])
    return size is not None and attribute(node, "axis", default) % size == size - 1


def _count(node: ir.Node) -> int | None:
    sizes = integers(operand(node, 1)) or []
    return sizes[0] if len(sizes) == 1 else None


RULES: Rules = {("", "TopK"): _fuse}
