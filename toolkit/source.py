"""A model as an exporter left it: a file or a folder, with tokenizer and generation settings."""

import hashlib
import json
import logging
import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.errors import PocketError
from toolkit.find_model import find_model, home_of
from toolkit.foreign import refuse

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
SETTINGS_FILES = ("generation_config.json", "genai_config.json")
OPSETS = range(11, 27)
SETTINGS = {
    "eos_token_id": "eos",
    "bos_token_id": "bos",
    "max_position_embeddings": "max_context",
    "context_length": "max_context",
}
MEND = "mend it, take it from the model again, or remove it"


@dataclass(frozen=True)
class Source:
    """A model that was found and can be read; `load` gives a fresh graph each time."""

    onnx_path: Path
    sha256: str  # of the .onnx file and of its external data
    generation: Mapping[str, Any]  # eos (list), bos, max_context, where the exporter wrote them
    files: Mapping[str, Path] = field(default_factory=dict)  # tokenizer and settings beside it

    @property
    def folder(self) -> Path:
        """Where the model and what belongs to it lie."""
        return self.onnx_path.parent

    @property
    def model(self) -> ir.Model:
        """A fresh graph; weights are mapped, not read."""
        return _read(self.onnx_path)


def load_source(path: Path) -> Source:
    """Find the model at `path`, a file or an exporter's folder, and check that it is whole."""
    onnx_path = find_model(path)
    home = home_of(onnx_path)
    files = {name: home / name for name in (*TOKENIZER_FILES, *SETTINGS_FILES)}
    present = {name: file for name, file in files.items() if file.is_file()}
    for file in present.values():
        refuse(file)
    model = _read(onnx_path)
    _check_opset(model, onnx_path)
    data = sorted(_external_files(model, onnx_path))
    return Source(onnx_path, _sha256([onnx_path, *data]), _generation(home), present)


def page_release(model: ir.Model) -> Callable[[], None]:
    """Give back the pages of mapped weights that were read: else a large model is all in memory."""
    values = model.graph.initializers.values()
    mapped = [v.const_value for v in values if isinstance(v.const_value, ir.ExternalTensor)]

    def release() -> None:
        for tensor in mapped:
            if tensor.raw is not None:
                tensor.raw.madvise(mmap.MADV_DONTNEED)

    return release


@contextmanager
def blaming(source: Source) -> Iterator[None]:
    """Say that the model is invalid where that is why something failed.

    ONNX's checker reads the whole model, so only a failure asks for it. Ops that it doesn't know
    say nothing: exporters write some that only ONNX Runtime knows.
    """
    try:
        yield
    except Exception as error:
        try:
            onnx.checker.check_model(str(source.onnx_path), full_check=True)
        except Exception as reason:
            if "No Op registered" not in str(reason):
                raise _damaged(source.onnx_path, reason) from error
        raise


def _read(path: Path) -> ir.Model:
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # what it warns of is an error here
    try:
        model = ir.load(path)
    except OSError as error:
        raise PocketError(f"{path} cannot be read", error, "check the file") from None
    except Exception as error:  # protobuf and onnx_ir raise many kinds on damaged files
        raise _damaged(path, _bad_number(path) or error) from None
    if model.graph is None or not len(model.graph) or not model.graph.outputs:
        raise _damaged(path, "it holds no graph")
    _check_inputs(model, path)
    return model


def _bad_number(path: Path) -> str | None:
    """Which tensor says where its data lie in something that is no number."""
    with suppress(Exception):  # a file that is damaged elsewhere says so itself
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            for entry in tensor.external_data:
                if entry.key in ("offset", "length") and not entry.value.isdecimal():
                    return f"the {entry.key} of tensor {tensor.name} is {entry.value!r:.40}"
    return None


def _check_inputs(model: ir.Model, path: Path) -> None:
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.inputs:
            if value is not None and not (value.producer() or value.graph):
                raise _damaged(path, f"node {node.name} reads {value.name}, which nothing makes")


def _damaged(path: Path, error: object) -> PocketError:
    while isinstance(error, Exception) and error.__cause__:
        error = error.__cause__  # the first fault says more than what wraps it
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return PocketError(f"{path} is not a usable ONNX model", reason, "export or download it again")


def _check_opset(model: ir.Model, path: Path) -> None:
    version = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if version is None or version not in OPSETS:
        raise PocketError(
            f"{path} uses opset {version}",
            f"opsets {OPSETS.start} to {OPSETS.stop - 1} are known",
            "export it again with one of these",
        )


def _external_files(model: ir.Model, path: Path) -> set[Path]:
    """Files with the weights; each must be there and long enough."""
    files: set[Path] = set()
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        file = path.parent / tensor.location
        if path.parent.resolve() not in file.resolve().parents:
            raise _damaged(
                path, f"tensor {value.name} lies outside its folder, at {tensor.location}"
            )
        if not file.is_file():
            raise PocketError(
                f"the weights of {path} are missing",
                f"tensor {value.name} is in {file.name}, which is not there",
                "copy it beside the model: an export with external data is more than one file",
            )
        _check_length(value.name or "", tensor, file)
        files.add(file)
    return files


def _check_length(name: str, tensor: ir.ExternalTensor, file: Path) -> None:
    end, size = (tensor.offset or 0) + (tensor.length or tensor.nbytes), file.stat().st_size
    if end > size or (tensor.length is not None and tensor.length < tensor.nbytes):
        refuse(file)
        raise PocketError(
            f"{file} is damaged",
            f"tensor {name} ends at byte {end}, the file has {size}",
            "copy or export it again: it was cut short",
        )


def _generation(folder: Path) -> dict[str, Any]:
    """End and start tokens and the context; of what exporters write, the most specific wins."""
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
    """A number, or the numbers of an end-of-text list; a context has one that is not 0."""
    many = isinstance(value, list) and name == "eos_token_id"
    numbers = value if many else [value]
    least = 1 if SETTINGS[name] == "max_context" else -1  # ids: some exporters write -1 for none
    if all(type(n) is int and least <= n < 2**31 for n in numbers):
        return list(numbers)
    raise PocketError(f"{file} is damaged at {name}", f"{value!r:.60} is no number for it", MEND)


def _object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = body.get(key)
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PocketError(f"{path} cannot be read", error, MEND) from None
    return body if isinstance(body, dict) else {}


def _sha256(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        for piece in _pieces(path):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            yield piece
