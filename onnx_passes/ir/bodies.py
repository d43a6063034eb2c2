"""The body of an op in simpler ops: as ONNX's schemas define it, or ops.txt."""

from collections.abc import Sequence
from typing import Any

import onnx
import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN
from onnx_passes.ir.ops import definitions
from onnx_passes.ir.rules import Miss

Schema = Any  # an OpSchema; onnx has no types for what it says of functions


def body_of(node: ir.Node, version: int) -> onnx.FunctionProto | None:
    """The body of a node's op in an opset; None where it has none.

    Attributes that the node leaves out get their defaults: a body refers to them in any case. Miss
    where the body means something else in this opset.
    """
    if node.domain == DOMAIN:
        name = node.op_type, node.overload or ""
        return next((_copy(each) for each in definitions() if _name(each) == name), None)
    if node.domain or not onnx.defs.has(node.op_type):
        return None
    try:
        schema: Schema = onnx.defs.get_schema(node.op_type, version)
    except onnx.defs.SchemaError:
        return None
    _give_defaults(node, schema)
    written = _written(schema, node, version)
    if written is None:
        return None
    body, opset = onnx.FunctionProto(), written[1]
    body.ParseFromString(written[0])
    for inner in body.node:
        if not inner.domain and not _holds(inner.op_type, opset, version):
            raise Miss(f"its body is written in opset {opset}, where {inner.op_type} is another op")
    return body


def _copy(function: onnx.FunctionProto) -> onnx.FunctionProto:
    body = onnx.FunctionProto()
    body.CopyFrom(function)
    return body


def _name(function: onnx.FunctionProto) -> tuple[str, str]:
    return function.name, function.overload


def _give_defaults(node: ir.Node, schema: Schema) -> None:
    for name, attribute in schema.attributes.items():
        if name not in node.attributes and attribute.default_value.type:
            node.attributes[name] = ir.serde.deserialize_attribute(attribute.default_value)


def _written(schema: Schema, node: ir.Node, version: int) -> tuple[bytes, int] | None:
    """The newest body up to a version of the opset, and its version."""
    versions = schema.function_opset_versions if schema.has_function else ()
    if opset := max((v for v in versions if v <= version), default=0):
        return schema.get_function_with_opset_version(opset), opset
    versions = schema.context_dependent_function_opset_versions
    opset = max((v for v in versions if v <= version), default=0)
    if not opset:
        return None
    call = ir.serde.serialize_node(node).SerializeToString()
    make = schema.get_context_dependent_function_with_opset_version
    body = make(opset, call, _types(node.inputs))
    return (body, opset) if body else None


def _types(values: Sequence[ir.Value | None]) -> list[bytes]:
    """The types of inputs, as a body that depends on them asks for."""
    types = []
    for value in values:
        proto = onnx.TypeProto()
        if value is not None and value.dtype is not None:
            proto.tensor_type.elem_type = int(value.dtype)
            for dim in value.shape or ():
                size = proto.tensor_type.shape.dim.add()
                if isinstance(dim, int):
                    size.dim_value = dim
        types.append(proto.SerializeToString())
    return types


def _holds(op_type: str, before: int, version: int) -> bool:
    """Whether a node that was written for one opset means the same in a later one."""
    old, new = (onnx.defs.get_schema(op_type, each) for each in (before, version))
    counts = old.min_input == new.min_input and old.max_input <= new.max_input
    return counts and _defaults(old).items() <= _defaults(new).items()


def _defaults(schema: Schema) -> dict[str, bytes]:
    return {a.name: a.default_value.SerializeToString() for a in schema.attributes.values()}
