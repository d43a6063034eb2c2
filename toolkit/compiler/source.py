"""A source model: the file or folder of an exporter, with tokenizer and settings."""

import hashlib
import json
import mmap
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnx_passes import GraphError, defined
from onnx_passes.embed_tokens import embed_tokens
from toolkit.compiler.adapters.merge import merge
from toolkit.compiler.adapters.peft import digest_of
from toolkit.compiler.embeddings import embedding_of
from toolkit.compiler.external_data import external_files, external_tensors
from toolkit.compiler.read_model import check_opset, read_model
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
    sha256: str  # of the .onnx files, of their external data, of adapters
    generation: Mapping[str, Any]  # eos (list), bos, max_context, if the exporter wrote them
    files: Mapping[str, Path] = field(default_factory=dict)  # its tokenizer and settings
    embedding: Path | None = None  # the .onnx file that embeds tokens, where that is another one
    lora: Path | None = None  # the folder of adapters that are added to its weights

    @property
    def folder(self) -> Path:
        """The folder of the model file."""
        return self.onnx_path.parent

    @property
    def model(self) -> ir.Model:
        """A fresh graph that takes tokens; weights are mapped, not read."""
        model = read_model(self.onnx_path)
        if self.lora is not None:
            merge(model, self.lora)
        if self.embedding is None:
            return model
        try:
            embed_tokens(model, read_model(self.embedding))
        except GraphError as error:
            raise PocketError(error.what, error.because, error.hint) from None
        return model

    def session(self, threads: int = 0) -> Any:
        """The exporter's model in ONNX Runtime, in one graph; 0 threads lets it choose."""
        from toolkit.onnx_runtime import open_session  # which takes time to load

        if self.embedding is None and self.lora is None:
            return open_session(self.onnx_path, threads)
        return session_of(self.model, str(self.onnx_path), threads)


def session_of(model: ir.Model, name: str, threads: int = 0) -> Any:
    """Open a graph through a file with external data: a protobuf is limited to 2 GiB."""
    from toolkit.onnx_runtime import open_session

    with defined(model), tempfile.TemporaryDirectory(prefix="pocketcl-") as folder:
        path = Path(folder) / "model.onnx"
        ir.save(model, path, external_data="model.onnx.data")
        return open_session(path, threads, name=name)


def load_source(path: Path, lora: Path | None = None) -> Source:
    """Find the model at `path`, a file or an exporter's folder, and check that it is complete.

    lora  a folder of adapters that are added to its weights
    """
    onnx_path = find_model(path)
    home = home_of(onnx_path)
    files = {name: home / name for name in (*TOKENIZER_FILES, *SETTINGS_FILES)}
    present = {name: file for name, file in files.items() if file.is_file()}
    for file in present.values():
        refuse(file)
    model = read_model(onnx_path)
    embedding = embedding_of(onnx_path, model)
    parts = [_checked(onnx_path, model)]
    if embedding is not None:
        parts.append(_checked(embedding, read_model(embedding)))
    sha256 = _sha256([file for part in parts for file in part])
    if lora is not None:
        lora = lora.resolve()
        sha256 = hashlib.sha256(f"{sha256} {digest_of(lora)}".encode()).hexdigest()
    return Source(onnx_path, sha256, _generation(home), present, embedding, lora)


def _checked(path: Path, model: ir.Model) -> list[Path]:
    """The files of a model, which are complete."""
    check_opset(model, path)
    return [path, *sorted(external_files(model, path))]


def page_release(model: ir.Model) -> Callable[[], None]:
    """What releases the pages of mapped weights, so that a large model is not all in memory."""
    mapped = [tensor for _, tensor in external_tensors(model)]

    def release() -> None:
        for tensor in mapped:
            if tensor.raw is not None:
                tensor.raw.madvise(mmap.MADV_DONTNEED)

    return release


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
