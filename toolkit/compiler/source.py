"""A source model: the file or folder of an exporter, with tokenizer and settings."""

import hashlib
import json
import logging
import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.compiler.damage import unreadable
from toolkit.compiler.external_data import external_files, locate
from toolkit.errors import PocketError
from toolkit.foreign.find_model import find_model, home_of
from toolkit.foreign.kinds import refuse

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
SETTINGS_FILES = ("generation_config.json", "genai_config.json")
OPSETS = range(11, 28)
SETTINGS = {
    "eos_token_id": "eos",
    "bos_token_id": "bos",
    "max_position_embeddings": "max_context",
    "n_positions": "max_context",
    "max_seq_len": "max_context",
    "context_length": "max_context",
}
REPAIR = "repair it, copy it from the model again, or remove it"


@dataclass(frozen=True)
class Source:
    """A model that can be read; `model` loads a fresh graph each time."""

    onnx_path: Path
    sha256: str  # of the .onnx file and of its external data
    generation: Mapping[str, Any]  # eos (list), bos, max_context, if the exporter wrote them
    files: Mapping[str, Path] = field(default_factory=dict)  # its tokenizer and settings

    @property
    def folder(self) -> Path:
        """The folder of the model file."""
        return self.onnx_path.parent

    @property
    def model(self) -> ir.Model:
        """A fresh graph; weights are mapped, not read."""
        return _read(self.onnx_path)


def load_source(path: Path) -> Source:
    """Find the model at `path`, a file or an exporter's folder, and check that it is complete."""
    onnx_path = find_model(path)
    home = home_of(onnx_path)
    files = {name: home / name for name in (*TOKENIZER_FILES, *SETTINGS_FILES)}
    present = {name: file for name, file in files.items() if file.is_file()}
    for file in present.values():
        refuse(file)
    model = _read(onnx_path)
    _check_opset(model, onnx_path)
    data = sorted(external_files(model, onnx_path))
    return Source(onnx_path, _sha256([onnx_path, *data]), _generation(home), present)


def page_release(model: ir.Model) -> Callable[[], None]:
    """What releases the pages of mapped weights, so that a large model is not all in memory."""
    values = model.graph.initializers.values()
    mapped = [v.const_value for v in values if isinstance(v.const_value, ir.ExternalTensor)]

    def release() -> None:
        for tensor in mapped:
            if tensor.raw is not None:
                tensor.raw.madvise(mmap.MADV_DONTNEED)

    return release


def _read(path: Path) -> ir.Model:
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


def _check_opset(model: ir.Model, path: Path) -> None:
    version = model.opset_imports.get("")
    if version is None or version not in OPSETS:
        raise PocketError(
            f"{path} uses opset {version}",
            f"opsets {OPSETS.start} to {OPSETS.stop - 1} are supported",
            "export it again with one of these",
        )


def _generation(folder: Path) -> dict[str, Any]:
    """End and start tokens and the context; later, more specific files override earlier ones."""
    settings: dict[str, Any] = {"eos": []}
    for file in (folder / name for name in ("config.json", *SETTINGS_FILES)):
        facts = _json(file)
        facts = _object(facts, "model") if file.name == "genai_config.json" else facts
        for name, key in SETTINGS.items():
            if facts.get(name) is not None:
                settings[key] = _ids(file, name, facts[name])
    for key in set(settings) - {"eos"}:
        settings[key] = settings[key][0]
    return settings


def _ids(file: Path, name: str, value: Any) -> list[int]:
    """The numbers of a setting: one, or the list of eos_token_id; a context must be positive."""
    many = isinstance(value, list) and name == "eos_token_id"
    numbers = value if many else [value]
    least = 1 if SETTINGS[name] == "max_context" else -1  # ids: some exporters write -1 for none
    if all(type(n) is int and least <= n < 2**31 for n in numbers):
        return list(numbers)
    raise PocketError(
        f"{file} is damaged at {name}", f"{value!r:.60} is not a valid number for it", REPAIR
    )


def _object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = body.get(key)
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PocketError(f"{path} cannot be read", error, REPAIR) from None
    return body if isinstance(body, dict) else {}


def _sha256(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            yield block
