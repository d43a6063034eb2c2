"""The driver of passes: which rule looks at which node, how often it rewrote, and why it did not.

A pass is a literal table of rules and one call:

    RULES: Rules = {("", "Add"): _spelled_out, ("com.microsoft", "RotaryEmbedding"): _fused}

    def fuse_rope(model: ir.Model) -> Outcome:
        return apply(model, RULES)
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir


class Miss(Exception):
    """A pattern began to match and then did not; the message says why."""


class Loss(str):
    """What a rewrite that was done gave up, in words: reported as a miss is."""

    __slots__ = ()


@dataclass(frozen=True)
class Missed:
    """A node at which a rule missed, or lost something, and why."""

    op_type: str
    node: str
    reason: str

    def __str__(self) -> str:
        """As `pocketcl inspect --why` prints it."""
        return f"{self.op_type} {self.node}: {self.reason}"


@dataclass(frozen=True)
class Outcome:
    """What a pass did: how often it rewrote something, and where its rules missed."""

    rewrites: int
    misses: tuple[Missed, ...] = ()


Done = bool | Loss  # whether a rule rewrote; with a Loss it did
Rule = Callable[[ir.Model, ir.Node], Done]  # False where the node is no beginning of its pattern
Rules = Mapping[tuple[str, str], Rule]  # (domain, op type), ONNX's own domain being ""


def apply(model: ir.Model, rules: Rules) -> Outcome:
    """Try the rule of every node's domain and op, in the order of the graph as it is now."""
    found = ((node, rules.get((node.domain, node.op_type))) for node in list(model.graph))
    return attempt((node, partial(rule, model, node)) for node, rule in found if rule is not None)


def attempt(sites: Iterable[tuple[ir.Node, Callable[[], Done]]]) -> Outcome:
    """Try what stands beside each node, for rules that need more than the model and the node.

    A node that an earlier rewrite removed is passed over.
    """
    rewrites, misses = 0, list[Missed]()
    for node, rule in sites:
        if node.graph is None:
            continue
        try:
            done = rule()
        except Miss as miss:
            misses.append(_missed(node, str(miss)))
            continue
        rewrites += bool(done)
        if isinstance(done, Loss):
            misses.append(_missed(node, done))
    return Outcome(rewrites, tuple(misses))


def _missed(node: ir.Node, reason: str) -> Missed:
    return Missed(node.op_type, node.name or node.outputs[0].name or "", str(reason))
