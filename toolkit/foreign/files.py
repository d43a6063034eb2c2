"""The table of files that are no ONNX model."""

from shlex import quote

from toolkit.foreign.kinds import POINTER, Kind, Seen
from toolkit.foreign.marks import (
    called,
    flatbuffer,
    is_archive,
    is_empty,
    is_openvino,
    is_safetensors,
    is_text,
    is_torch,
    starts,
    text_starts,
)
from toolkit.foreign.steps import (
    TORCH,
    export_beside,
    export_original,
    folder_of,
    gguf_because,
    gguf_hint,
    has_settings,
    run_plan,
)
from toolkit.paths import PLAN_FILE

AGAIN = "export or download it again"
OTHER_ENGINE = "an engine of its own reads it; PocketCL reads ONNX"
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".incomplete", ".aria2")
NO_PAGE = (
    "download the file itself: on a hub `hf download OWNER/NAME --local-dir FOLDER`, or the address"
    " with /resolve/ in place of /blob/"
)


def _first_line(seen: Seen) -> str:
    lines = map(str.strip, seen.head.decode(errors="replace").split("\n"))
    return f"it begins with {next(filter(None, lines), '')!r:.60}"


def _model_beside(seen: Seen) -> str:
    length = seen.path.name.lower().index(".onnx")
    return f"name the model itself: {seen.path.with_name(seen.path.name[:length] + '.onnx')}"


def _in_plan(seen: Seen) -> bool:
    return (seen.path.parent / PLAN_FILE).is_file() and seen.path.suffix != ".onnx"


FILES = (
    Kind("not a usable ONNX model", is_empty, "the file is empty", AGAIN),
    POINTER,
    Kind(
        "a part of a compiled plan",
        _in_plan,
        f"{PLAN_FILE} is in the same folder",
        lambda seen: run_plan(seen.path.parent),
    ),
    Kind(
        "a web page, not an ONNX model",
        text_starts(b"<!doctype html", b"<html"),
        "the download is not the file, but a page about it, or one that asks for a login",
        NO_PAGE,
    ),
    Kind(
        "a GGUF file, not an ONNX model",
        starts(b"GGUF"),
        lambda seen: gguf_because(seen.path),
        lambda seen: gguf_hint(seen.path),
    ),
    Kind(
        "a file of safetensors, not an ONNX model",
        is_safetensors,
        "it holds weights without a graph; PocketCL reads ONNX, which has both",
        export_beside,
    ),
    Kind(
        "a PyTorch file, not an ONNX model",
        is_torch,
        "it holds weights or Python objects; PocketCL reads ONNX",
        lambda seen: export_beside(seen) if has_settings(seen) else TORCH,
    ),
    Kind(
        "a model in ORT format, not an ONNX model",
        flatbuffer(b"ORTM"),
        "ONNX Runtime made it from an .onnx file, for itself",
        "compile that .onnx file",
    ),
    Kind("a TFLite model, not an ONNX model", flatbuffer(b"TFL3"), OTHER_ENGINE, export_original),
    Kind(
        "a LiteRT-LM model, not an ONNX model", starts(b"LITERTLM"), OTHER_ENGINE, export_original
    ),
    Kind(
        "an ExecuTorch model, not an ONNX model", flatbuffer(b"ET12"), OTHER_ENGINE, export_original
    ),
    Kind("an OpenVINO model, not an ONNX model", is_openvino, OTHER_ENGINE, export_original),
    Kind("an MNN model, not an ONNX model", called(".mnn"), OTHER_ENGINE, export_original),
    Kind("a Core ML model, not an ONNX model", called(".mlmodel"), OTHER_ENGINE, export_original),
    Kind(
        "an HDF5 file, not an ONNX model",
        starts(b"\x89HDF\r\n\x1a\n"),
        "Keras stores weights in it; PocketCL reads ONNX",
        "convert a whole Keras model: python -m tf2onnx.convert --keras FILE --output model.onnx",
    ),
    Kind(
        "a NumPy file, not an ONNX model",
        starts(b"\x93NUMPY"),
        "it holds an array",
        "name the .onnx file of the model, or its folder",
    ),
    Kind(
        "an archive, not an ONNX model",
        is_archive,
        "a model may be packed in it",
        "unpack it, then compile the folder",
    ),
    Kind(
        "an unfinished download, not an ONNX model",
        called(*UNFINISHED),
        "its name says that the rest is missing",
        "let the download finish, or start it again",
    ),
    Kind(
        "the weights of a model, not the model",
        called(".onnx_data", ".onnx.data", ".onnx.weight"),
        "an export with external data has several files, and the graph is in another one",
        _model_beside,
    ),
    Kind(
        "a JSON file, not an ONNX model",
        text_starts(b"{", b"["),
        _first_line,
        lambda seen: f"name its folder: pocketcl compile {quote(str(folder_of(seen.path.parent)))}",
    ),
    Kind("a text file, not an ONNX model", is_text, _first_line, AGAIN),
)
