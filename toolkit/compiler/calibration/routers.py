"""What chooses by scores: routers of mixtures of experts; masks by magnitude or a threshold."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.graph import attribute, constant, integers, needed, operand, producer, rank
from opencl_kernels.formats import Array

CHOOSERS = ("TopK", "GroupTopK", "ArgMax")
MASKS = ("Above", "TopMask")  # ops that leave out what is not computed


class Groups(NamedTuple):
    """How experts in groups are chosen, as attributes of `pocket.GroupTopK`."""

    groups: int
    best: int
    kept: int
    fill: float


class Router(NamedTuple):
    """A choice of the k experts with the greatest scores, or with the least."""

    scores: ir.Value  # [.., E], tokens in their order
    k: int
    largest: bool = True
    groups: Groups | None = None
    worth: Array | None = None  # of a mask: what the magnitude of each element counts
    threshold: float | None = None  # of a mask: it takes what is above it, and k says nothing

    @property
    def is_mask(self) -> bool:
        """Whether it leaves out what is not computed of a network."""
        return self.worth is not None or self.threshold is not None

    @property
    def kind(self) -> str:
        """What it chooses."""
        if self.threshold is not None:
            return "neurons"
        return "experts" if self.worth is None else "elements"

    def sizes(self, scores: Array) -> Array:
        """By what it goes, of these scores."""
        return scores if self.worth is None else np.abs(scores) * self.worth


def masks_of(graph: ir.Graph) -> list[Router]:
    """Those that leave out what is small, in the graph's order."""
    return [mask_of(node) for node in graph if node.op_type in MASKS]


def mask_of(node: ir.Node) -> Router:
    """By magnitude, what doesn't lie in memory counts less."""
    if node.op_type == "Above":
        return Router(needed(node, 0), 0, threshold=attribute(node, "threshold"))
    cached, gamma = constant(operand(node, 1)), np.float32(attribute(node, "gamma", 1.0))
    worth = np.float32(1) if cached is None else np.where(cached > 0, np.float32(1), gamma)
    return Router(needed(node, 0), attribute(node, "k"), worth=np.asarray(worth))


def routers_of(graph: ir.Graph) -> list[Router]:
    """Those whose choice an `Experts` reads, in the graph's order, each of them once.

    Both products of a mixture read one choice, and what stands between it and them moves or pads
    integers: experts that all tokens take are added to it.
    """
    chosen = [needed(node, 2) for node in graph if node.op_type == "Experts"]
    nodes = {node: None for value in chosen for node in _choosers(value)}
    return [router for node in nodes if (router := _router(node)) is not None]


def _choosers(value: ir.Value | None) -> Iterator[ir.Node]:
    """The nodes that make integers out of scores, above a value of indices."""
    node = None if value is None or not _is_integer(value) else value.producer()
    if node is None:
        return
    if node.op_type in CHOOSERS:
        yield node
        return
    for source in node.inputs:
        yield from _choosers(source)


def _is_integer(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_integer()


def _router(node: ir.Node) -> Router | None:
    """None where the choice isn't among the last axis's scores, one of them at least left out."""
    if node.op_type == "GroupTopK":
        numbers = (attribute(node, key) for key in Groups._fields)
        return Router(needed(node, 0), attribute(node, "k"), groups=Groups(*numbers))
    scores, size = needed(node, 0), rank(node.inputs[0])
    default = -1 if node.op_type == "TopK" else 0
    if size is None or attribute(node, "axis", default) % size != size - 1:
        return None
    if node.op_type != "TopK":
        return Router(_raw(scores), 1)
    k = integers(operand(node, 1)) or []
    largest = bool(attribute(node, "largest", 1))
    return Router(_raw(scores), k[0], largest) if len(k) == 1 else None


def _raw(scores: ir.Value) -> ir.Value:
    """What a softmax makes scores of, in the same order: its exponents blur none of them."""
    node, size = producer(scores, "Softmax"), rank(scores)
    if node is None or size is None or attribute(node, "axis", -1) % size != size - 1:
        return scores
    return needed(node, 0)
