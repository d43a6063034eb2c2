"""What the heads of queries and of keys go through between projection and attention, as one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.heads.columns import Heads
from onnx_passes.ir.edit import Builder
from onnx_passes.ir.graph import attribute, dim, finite, needed, operand
from onnx_passes.ir.rules import Miss


class Steps(NamedTuple):
    """A norm of heads (the node for q, that for k) and a rotation, in either order."""

    norms: tuple[ir.Node, ...] = ()
    rope: ir.Node | None = None
    norms_last: bool = False
    whole: bool = False  # a norm is of all heads together, not of each

    @property
    def centered(self) -> bool:
        """Whether the norms are LayerNorms."""
        return any(node.op_type == "LayerNormalization" for node in self.norms)

    @property
    def eps(self) -> float:
        """What the norms add below the root."""
        return _epsilon(self.norms[0])

    def vectors(self, b: Builder) -> list[ir.Value]:
        """The scales of q and k; of LayerNorms, their offsets, too."""
        scales = [needed(node, 1) for node in self.norms]
        if not self.centered:
            return scales
        return scales + [_offset(b, node) for node in self.norms]


def steps_of(q: Heads, k: Heads, v: Heads) -> Steps:
    """The steps of a layer; a Miss where no kernel takes them all."""
    kinds = [node.op_type for node in q.steps]
    if v.steps:
        raise Miss("the values are normed or rotated")
    if kinds != [node.op_type for node in k.steps]:
        raise Miss("queries and keys go through different norms or rotations")
    pairs = [pair for pair in zip(q.steps, k.steps, strict=True) if pair[0].op_type != "Rope"]
    ropes = [pair for pair in zip(q.steps, k.steps, strict=True) if pair[0].op_type == "Rope"]
    if len(pairs) > 1 or len(ropes) > 1:
        raise Miss("heads go through more than one norm and one rotation")
    if any(a.inputs[1:] != b.inputs[1:] or a.overload != b.overload for a, b in ropes):
        raise Miss("queries and keys are rotated by different tables")
    if any(_epsilon(a) != _epsilon(b) for a, b in pairs):
        raise Miss("the norms of queries and keys add different epsilons")
    last = bool(ropes and pairs) and kinds[0] == "Rope"
    norms = pairs[0] if pairs else ()
    whole = _are_of_all(norms, (q, k))
    steps = Steps(norms, ropes[0][0] if ropes else None, last, whole)
    if last and (steps.centered or whole or ropes[0][0].overload):
        each = "an RMSNorm of each only, and pairs half a rotation apart"
        raise Miss(f"after a rotation, heads have {each}")
    return steps


def _are_of_all(norms: Sequence[ir.Node], parts: Sequence[Heads]) -> bool:
    """Whether norms are of all heads of q and of k; a Miss where only one of them is."""
    widths = [dim(needed(node, 0), -1) for node in norms]
    pairs = list(zip(widths, parts, strict=False))
    if all(width == part.columns.shape[1] for width, part in pairs):
        return False
    if any(width != part.columns.size for width, part in pairs):
        raise Miss("of queries or keys each head is normed, of the others all together")
    return True


def _epsilon(norm: ir.Node) -> float:
    name, default = ("eps", None) if norm.op_type == "RmsNorm" else ("epsilon", 1e-5)
    return finite(attribute(norm, name, default), name)


def _offset(b: Builder, norm: ir.Node) -> ir.Value:
    """The offset of a LayerNorm, 0 where it has none."""
    given, scale = operand(norm, 2), needed(norm, 1)
    if given is not None:
        return given
    assert scale.dtype is not None and scale.shape is not None
    return b.constant(np.zeros(scale.shape.numpy(), scale.dtype.numpy()))
