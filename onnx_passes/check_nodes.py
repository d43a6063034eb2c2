"""ONNX's own ops have the inputs, outputs and attributes that their schemas demand."""

import onnx
import onnx_ir as ir

from onnx_passes.ir.graph import InvalidModel
from onnx_passes.ir.ops import OPSET
from onnx_passes.ir.rules import Outcome


def check_nodes(model: ir.Model) -> Outcome:
    """Raise InvalidModel for the first node that doesn't fit its schema; nothing is rewritten."""
    version = model.opset_imports.get("", OPSET)
    for node in model.graph.all_nodes():
        fault = _fault(node, version) if node.domain == "" else None
        if fault is not None:
            raise InvalidModel(
                f"the node {node.name or node.outputs[0].name} ({node.op_type}) is not valid",
                fault,
                "check the file with onnx.checker, or export it again",
            )
    return Outcome(0)


def _fault(node: ir.Node, version: int) -> str | None:
    if not node.outputs:
        return "it has no outputs"
    if not onnx.defs.has(node.op_type):
        return None
    try:
        schema = onnx.defs.get_schema(node.op_type, version)
    except onnx.defs.SchemaError:
        return None  # no op of this opset: refused by name later, if nothing replaces it
    return _wrong_values(node, schema) or _wrong_attributes(node, schema, version)


def _wrong_values(node: ir.Node, schema: onnx.defs.OpSchema) -> str | None:
    for kind, count, least, most in (
        ("inputs", len(node.inputs), schema.min_input, schema.max_input),
        ("outputs", len(node.outputs), schema.min_output, schema.max_output),
    ):
        if not least <= count <= most:
            return f"it has {count} {kind}; {least} to {most} are right"
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    for index, formal in enumerate(schema.inputs):
        if formal.option == single and node.inputs[index] is None:
            return f"its input {formal.name} is missing"
    return None


def _wrong_attributes(node: ir.Node, schema: onnx.defs.OpSchema, version: int) -> str | None:
    strange = (name for name in node.attributes if name not in schema.attributes)
    unknown = [name for name in strange if not name.startswith("_")]  # those are an exporter's own
    if unknown:
        return f"its attribute {unknown[0]} is not known in opset {version}"
    for name, attribute in schema.attributes.items():
        given = node.attributes.get(name)
        if attribute.required and given is None:
            return f"its attribute {name} is missing"
        wanted: object = attribute.type  # an enum that compares with ints
        if given is not None and wanted != given.type.value:
            return f"its attribute {name} is of the wrong type"
    return None
