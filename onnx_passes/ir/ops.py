"""The `pocket` ops as ONNX functions (ops.txt).

They are attached to a model while something else than us has to understand it.
"""

import contextlib
import functools
import importlib.resources
import re
from collections.abc import Iterable, Iterator

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
    used = [node for node in _nodes(model) if node.domain == DOMAIN]
    if used:
        model.opset_imports[DOMAIN] = 1
        for proto in _with_callees((node.op_type, node.overload or "") for node in used):
            function = ir.serde.deserialize_function(proto)
            model.functions[function.identifier()] = function
    try:
        yield model
    finally:
        model.functions.clear()
        model.functions.update(before)
        model.opset_imports.clear()
        model.opset_imports.update(imports)


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Those of the graph, with its subgraphs, and of the functions that the model brings."""
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _with_callees(names: Iterable[tuple[str, str]]) -> Iterator[onnx.FunctionProto]:
    """The definitions of these ops, by name and overload, and of those that their bodies use.

    Without those that nothing uses: whoever reads the model takes time for each.
    """
    known = {(proto.name, proto.overload): proto for proto in definitions()}
    seen, left = set[tuple[str, str]](), list(names)
    while left:
        name = left.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        yield known[name]
        left += [(n.op_type, n.overload) for n in known[name].node if n.domain == DOMAIN]
