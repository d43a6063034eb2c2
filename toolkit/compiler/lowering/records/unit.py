"""What a gather's kernel of neurons computes, told for whoever computes it in its place."""

from __future__ import annotations

from collections.abc import Iterator

from opencl_kernels.map.expression import Node
from opencl_kernels.records.neurons import Neurons, activation
from toolkit.compiler.lowering.drafts import Draft
from toolkit.plan.schema import Unit
from toolkit.plan.schema.activation import FUNCTIONS, is_activation

SAME = ("Identity", "Float")  # functions that leave a float as it is


def unit_of(drafts: tuple[Draft, ...]) -> Unit | None:
    """Of a gather's drafts; None where they are others, or a function that only kernels know."""
    if len(drafts) != 1 or not isinstance(drafts[0].case, Neurons):
        return None
    case, names = drafts[0].case, [each.name for each in drafts[0].arguments]
    act, up_act = (postfix(activation(text)) for text in (case.act, case.up_act))
    if act is None or up_act is None:
        return None
    keys = {"given": "v", "gate_bias": "bg", "up_bias": "bu", "x": "x", "part": "part"}
    places = {key: 1 + names.index(name) for key, name in keys.items() if name in names}
    return Unit(case.gate, act, up_act, **places)


def postfix(root: Node) -> str | None:
    """An expression over v as `toolkit.plan.schema.activation` has it."""
    try:
        text = " ".join(_words(root))
    except KeyError:
        return None
    return text if is_activation(text) else None


def _words(node: Node) -> Iterator[str]:
    """Raises KeyError where the plan has no word for a part."""
    for part in node.parts:
        yield from _words(part)
    if node.op == "number":
        yield repr(float(node.value))
    elif node.op == "name" and node.value == "v":
        yield "v"
    elif node.op not in SAME:
        FUNCTIONS[node.op]
        yield node.op
