"""The place where all rules of shapes join the inference's own; rules of ops that others invented.

A rule sets shape and type of a node's outputs, and the elements of small integer tensors that
are shapes themselves (Expand targets above all).
"""

import functools
from collections.abc import Sequence

import onnx_ir as ir
import onnx_shape_inference as osi

from onnx_passes.ir.dims import Dim
from onnx_passes.ir.graph import DOMAIN, attribute, operand
from onnx_passes.ir.shapes.pocket_rules import OURS, set_like
from onnx_passes.ir.shapes.rule_context import Context, Rule
from onnx_passes.ir.shapes.shape_values import VALUES
from onnx_passes.ir.shapes.sound_rules import AFTER, INSTEAD


def _skip_norm(context: Context, node: ir.Node) -> None:
    """com.microsoft's skip norms: normalised, mean, inverse deviation, and the sum."""
    x = operand(node, 0)
    if x is not None and x.shape is not None:
        for output in (*node.outputs[:1], *node.outputs[3:4]):
            set_like(context, output, list(x.shape), x)


def transposed_order(node: ir.Node, side: str, size: int) -> list[int]:
    """Axes of operand "A" or "B" as FusedMatMul reads them: some swapped, the first moved."""
    order = list(range(size))
    if attribute(node, f"transBatch{side}", 0) and size > 2:
        order[:-1] = [*order[1:-1], 0]
    if attribute(node, f"trans{side}", 0) and size > 1:
        order[-2:] = order[:-3:-1]
    return order


def _fused_matmul(context: Context, node: ir.Node) -> None:
    """As the library's rule, which does not know of transposed batches."""
    shapes: list[list[Dim]] = []
    for side, value in zip("AB", node.inputs, strict=False):
        if value is None or value.shape is None or value.shape.rank() < 2:
            return
        order = transposed_order(node, side, value.shape.rank())
        shapes.append([value.shape[axis] for axis in order])
    (*more_a, rows, _), (*more_b, _, columns) = shapes
    longest = max(len(more_a), len(more_b))
    ones: list[Dim] = [1] * longest
    padded = [(ones + more)[len(more) :] for more in (more_a, more_b)]
    batches = [b if a == 1 else a for a, b in zip(*padded, strict=True)]
    assert node.inputs[0] is not None
    set_like(context, node.outputs[0], [*batches, rows, columns], node.inputs[0])


@functools.cache
def register_rules() -> None:
    """Add our rules to the inference, once; on ONNX's ops most run after the library's."""
    osi.registry.collect()
    for op_type, rule in OURS.items():
        osi.registry.register(DOMAIN, op_type, since_version=1)(rule)
    skip = osi.registry.register(
        "com.microsoft", "SkipSimplifiedLayerNormalization", since_version=1
    )
    skip(_skip_norm)
    osi.registry.register("com.microsoft", "FusedMatMul", since_version=1)(_fused_matmul)
    for op_type in {*VALUES, *AFTER, *INSTEAD}:
        theirs = {v: osi.registry.get("", op_type, version=v) for v in range(1, 28)}
        for version, rule in theirs.items():
            rules = INSTEAD.get(op_type, rule), AFTER.get(op_type), VALUES.get(op_type)
            osi.registry.register("", op_type, since_version=version)(_in_turn(rules))


def _in_turn(rules: Sequence[Rule | None]) -> Rule:
    def run(context: Context, node: ir.Node) -> None:
        for rule in rules:
            if rule is not None:
                rule(context, node)

    return run
