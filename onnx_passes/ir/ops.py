"""The `pocket` ops as ONNX functions (ops.txt).

They are attached to a model while something else than us has to understand it.
"""

import contextlib
import functools
import importlib.resources
import re
from collections.abc import Iterator

import onnx
import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN

OPSET = 18  # of the bodies: the oldest that our sources use
_HEAD = re.compile(r"^(\w+)(?::(\w+))? (.*)$")


@functools.cache
def definitions() -> tuple[onnx.FunctionProto, ...]:
    """All functions of ops.txt."""
    text = importlib.resources.files("onnx_passes.ir").joinpath("ops.txt").read_text()
    blocks = re.split(r"\n\n+", re.sub(r"^#.*\n", "", text, flags=re.M))
    return tuple(_parse(block) for block in blocks if block.strip())


def _parse(block: str) -> onnx.FunctionProto:
    """One function of ops.txt; its head is `Name` or `Name:overload`."""
    head, body = block.strip().split("\n", 1)
    match = _HEAD.match(head)
    assert match is not None
    name, overload, rest = match.groups()
    header = f'<domain: "{DOMAIN}", opset_import: ["": {OPSET}, "{DOMAIN}": 1]>\n'
    function = onnx.parser.parse_function(f"{header}{name} {rest}\n{body}")
    function.overload = overload or ""
    return function


@contextlib.contextmanager
def defined(model: ir.Model) -> Iterator[ir.Model]:
    """Attach the definitions of the `pocket` ops that the model uses; detach them at the end."""
    before = dict(model.functions)  # chains of elementwise ops bring their own definitions
    imports = dict(model.opset_imports)
    uses = any(node.domain == DOMAIN for node in model.graph)
    if uses:
        model.opset_imports[DOMAIN] = 1
        for proto in definitions():
            function = ir.serde.deserialize_function(proto)
            model.functions[function.identifier()] = function
    try:
        yield model
    finally:
        model.functions.clear()
        model.functions.update(before)
        model.opset_imports.clear()
        model.opset_imports.update(imports)
