"""An .onnx file as a graph: read, checked, its weights located."""

import logging
from contextlib import suppress
from pathlib import Path

import onnx
import onnx_ir as ir

from toolkit.compiler.damage import unreadable
from toolkit.compiler.external_data import locate
from toolkit.errors import PocketError

OPSETS = range(11, 28)


def read_model(path: Path) -> ir.Model:
    """A fresh graph; weights are mapped, not read. Raises PocketError on a damaged file."""
    for name in ("onnx_ir", "onnxscript"):  # their warnings are errors here, or harmless
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        model = ir.load(path)
    except OSError as error:
        raise PocketError(f"{path} cannot be read", error, "check the file") from None
    except Exception as error:  # protobuf and onnx_ir raise many kinds on damaged files
        raise unreadable(path, _bad_number(path) or error) from None
    if model.graph is None or not len(model.graph) or not model.graph.outputs:
        raise unreadable(path, "it holds no graph")
    _check_inputs(model, path)
    for part in (model.graph, *(f.graph for f in model.functions.values())):
        _name_once(part.opset_imports)
    locate(model, path)
    return model


def check_opset(model: ir.Model, path: Path) -> None:
    """Raise unless the graph is written in an opset that passes know."""
    version = model.opset_imports.get("")
    if version is None or version not in OPSETS:
        raise PocketError(
            f"{path} uses opset {version}",
            f"opsets {OPSETS.start} to {OPSETS.stop - 1} are supported",
            "export it again with one of these",
        )


def _name_once(imports: dict[str, int]) -> None:
    """Import ONNX's own domain under one of its two names; if both are there, the last counts."""
    found = [imports[name] for name in imports if name in ("", "ai.onnx")]
    imports.pop("ai.onnx", None)
    if found:
        imports[""] = found[-1]


def _bad_number(path: Path) -> str | None:
    """The fault of a tensor whose external offset or length is no number."""
    with suppress(Exception):  # other damage is reported by its own error
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            for entry in tensor.external_data:
                if entry.key in ("offset", "length") and not entry.value.isdecimal():
                    return f"the {entry.key} of tensor {tensor.name} is {entry.value!r:.40}"
    return None


def _check_inputs(model: ir.Model, path: Path) -> None:
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.inputs:
            if value is not None and not (value.producer() or value.graph):
                raise unreadable(path, _undefined(path, node, value.name))


def _undefined(path: Path, node: ir.Node, name: str | None) -> str:
    graph = onnx.load(path, load_external_data=False).graph
    if name in (tensor.values.name for tensor in graph.sparse_initializer):
        return f"its tensor {name} is sparse"
    return f"node {node.name} ({node.op_type}) reads {name}, which no node computes"
