"""The table of folders that hold no ONNX model."""

import re
from collections.abc import Callable
from pathlib import Path
from shlex import quote

from toolkit.foreign.files import OTHER_ENGINE
from toolkit.foreign.kinds import Kind, Seen, is_pointer, pull
from toolkit.foreign.steps import (
    CONFIG,
    classes,
    export_folder,
    export_original,
    gguf_because,
    gguf_hint,
    merge_adapter,
    run_plan,
    writes_text,
)
from toolkit.paths import PLAN_FILE

WEIGHTS = re.compile(r".*\.(safetensors|gguf|pth)|(pytorch|flax|tf)_model.*\.(bin|msgpack|h5)")
OF_ENGINES = (".mnn", ".tflite", ".litertlm", ".task", ".pte", ".mlpackage", ".mlmodelc")


def holds(*names: str) -> Callable[[Seen], bool]:
    """Folders that contain one of these names."""
    return lambda seen: bool(seen.names.intersection(names))


def _weights(seen: Seen) -> list[Path]:
    return [seen.path / name for name in sorted(filter(WEIGHTS.fullmatch, seen.names))]


def _pointers(seen: Seen) -> list[Path]:
    return [path for path in _weights(seen) if is_pointer(Seen(path))]


def _is_of_transformers(seen: Seen) -> bool:
    return CONFIG in seen.names and any(path.suffix != ".gguf" for path in _weights(seen))


def _what_it_holds(seen: Seen) -> str:
    found = f"it holds {CONFIG} and {_weights(seen)[0].name}, and no .onnx file"
    if writes_text(seen):
        return f"{found}; PocketCL reads ONNX"
    return f"{found}; and it is not a text decoder, but {', '.join(classes(seen))}"


def _source(seen: Seen) -> str:
    model = seen.settings(PLAN_FILE).get("model")
    source = model.get("source") if isinstance(model, dict) else None
    path = source.get("path", "") if isinstance(source, dict) else ""
    return f"it was made from {path}" if path else f"it has {PLAN_FILE}"


def _translates(seen: Seen) -> bool:
    starts = {name.partition("_model")[0] for name in seen.names if name.endswith(".onnx")}
    return starts >= {"encoder", "decoder"}


def _inspect(seen: Seen) -> str:
    first = next(path for path in seen.ending(".onnx") if path.name.startswith("encoder"))
    return f"list what no kernel runs: pocketcl inspect {quote(str(first))} --unsupported"


# These hold even for a folder that contains .onnx files.
WHATEVER_IT_HOLDS = (
    Kind("a compiled plan", holds(PLAN_FILE), _source, lambda seen: run_plan(seen.path)),
    Kind(
        "an encoder and a decoder, not one ONNX model",
        _translates,
        "PocketCL compiles text decoders that stand alone",
        _inspect,
    ),
)
FOLDERS = (
    *WHATEVER_IT_HOLDS,
    Kind(
        "a clone without its large files",
        lambda seen: bool(_pointers(seen)),
        lambda seen: f"{_pointers(seen)[0].name} is a pointer of Git LFS, a note of three lines",
        lambda seen: pull(seen.path),
    ),
    Kind(
        "an adapter, not a model",
        holds("adapter_config.json"),
        "it holds changes to a model's weights (LoRA), and no graph",
        merge_adapter,
    ),
    Kind(
        "a Hugging Face folder, not an ONNX model",
        _is_of_transformers,
        _what_it_holds,
        export_folder,
    ),
    Kind(
        "a folder with a GGUF file, not an ONNX model",
        lambda seen: bool(seen.ending(".gguf")),
        lambda seen: gguf_because(seen.ending(".gguf")[0]),
        lambda seen: gguf_hint(seen.ending(".gguf")[0]),
    ),
    Kind(
        "a model of another engine, not an ONNX model",
        lambda seen: (
            holds("openvino_model.xml", "mlc-chat-config.json", "coremldata.bin")(seen)
            or bool(seen.ending(*OF_ENGINES))
        ),
        OTHER_ENGINE,
        export_original,
    ),
    Kind(
        "a TensorFlow model, not an ONNX model",
        holds("saved_model.pb"),
        "TensorFlow saved it; PocketCL reads ONNX",
        "python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
    ),
    Kind(
        "a pipeline of several models, not one ONNX model",
        holds("model_index.json"),
        "diffusers made it; PocketCL reads one ONNX model at a time",
        "optimum-cli export onnx --model FOLDER OUT, then pocketcl inspect one of OUT's folders",
    ),
    Kind(
        "a Hugging Face folder without its weights",
        holds(CONFIG),
        f"it holds {CONFIG}, and neither weights nor an .onnx file",
        "export it again, or download the rest: hf download OWNER/NAME --local-dir FOLDER",
    ),
)
