"""Logits are computed for the last `rows` positions only: head and final norm see no others."""

from functools import partial

import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.edit import Builder
from onnx_passes.ir.graph import (
    DOMAIN,
    attribute,
    integers,
    is_constant,
    linear,
    needed,
    operand,
    producer,
    scalar,
    through,
)
from onnx_passes.ir.rules import Miss, Outcome, attempt


def last_rows(model: ir.Model) -> Outcome:
    """Select rows before the final norm."""
    name = roles_of(model).logits
    logits = next(value for value in model.graph.outputs if value.name == name)
    return attempt([(logits.producer() or model.graph[0], partial(_select, model, logits))])


def _select(model: ir.Model, logits: ir.Value) -> bool:
    head = linear(_below_scaling(logits))
    if head is None:
        raise Miss("the logits are not a matmul with a constant weight")
    rows = next(value for value in model.graph.inputs if value.name == "rows")
    x = _before_last_token(needed(head, 0))
    if x.shape is None or x.shape.rank() != 3 or x.shape[1] != "seq":
        raise Miss(f"the head reads {x.shape}, not a row for each token")
    norm = producer(x, "RmsNorm", "AddRmsNorm", "LayerNormalization")
    b = Builder(head)
    if norm is None or not _is_row_by_row(norm, x):
        head.replace_input_with(0, b.op("LastRows", x, rows, domain=DOMAIN))
        return True
    parts = [
        value
        if value is None or is_constant(value)
        else b.op("LastRows", value, rows, domain=DOMAIN)
        for value in norm.inputs
    ]
    attributes = {name: each.value for name, each in norm.attributes.items()}
    outputs = b.ops(norm.op_type, len(norm.outputs), *parts, domain=norm.domain, **attributes)
    head.replace_input_with(0, outputs[norm.outputs.index(x)])
    return True


def _is_row_by_row(norm: ir.Node, x: ir.Value) -> bool:
    """Whether a norm gives only `x`, each row from one row of the inputs that are no vectors."""
    alone = not any(output.uses() for output in norm.outputs if output is not x)
    if norm.op_type != "LayerNormalization":
        return alone
    vectors = all(value is None or is_constant(value) for value in norm.inputs[1:])
    return alone and vectors and attribute(norm, "axis", -1) in (-1, 2)


def _below_scaling(value: ir.Value | None) -> ir.Value | None:
    """Look through what is done to every logit alone (scaling by constants, soft-capping)."""
    while (node := producer(value, "Cast", "Mul", "Div", "Add", "Tanh")) is not None:
        inner = [x for x in node.inputs if not is_constant(x)]
        if len(inner) != 1:
            break
        value = inner[0]
    return value


def _before_last_token(x: ir.Value) -> ir.Value:
    """Undo an exporter's own choice of the last token (Slice or Gather at -1 along the tokens)."""
    node = producer(through(x, "Unsqueeze", "Reshape"), "Gather", "Slice")
    if node is None:
        return x
    if node.op_type == "Gather":
        at_last = attribute(node, "axis", 0) == 1 and scalar(operand(node, 1)) == -1
    else:
        at_last = integers(operand(node, 1)) == [-1] and integers(operand(node, 3)) == [1]
        at_last = at_last and (integers(operand(node, 2)) or [0])[0] > 2**30
    return needed(node, 0) if at_last else x
