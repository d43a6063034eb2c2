"""What is handed over in place of a model: recognised by its content, with the next step."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from foreign_files import (
    PAGE,
    POINTER,
    config,
    flatbuffer,
    folder,
    gguf,
    pickled,
    safetensors,
    zipped,
)

from toolkit import cli
from toolkit.foreign.files import FILES
from toolkit.foreign.folders import FOLDERS
from toolkit.foreign.gguf import origin
from toolkit.foreign.kinds import Seen

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
EXPORT = "optimum-cli export onnx --model"
TEXT = "--task text-generation-with-past"
AGAIN = "export or download it again"

FILE_CASES: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "empty": ("model.onnx", b"", ("not a usable ONNX model", "empty", AGAIN)),
    "pointer": ("model.onnx", POINTER, ("Git LFS pointer", "on the server", "lfs pull")),
    "page": ("model.onnx", PAGE, ("a web page", "a login", "hf download")),
    "gguf": ("m.gguf", gguf(), ("a GGUF file", "llama.cpp", f"{EXPORT} ORIGINAL {TEXT}")),
    "gguf with another name": ("m.onnx", gguf(), ("a GGUF file", "llama.cpp", EXPORT)),
    "gguf of a name": (
        "m.gguf",
        gguf(name="Tiny 1B Instruct"),
        ("a GGUF file", "names Tiny 1B Instruct", f"{EXPORT} ORIGINAL"),
    ),
    "gguf of a hub": (
        "m.gguf",
        gguf(name="Tiny", source__repo_url="https://huggingface.co/some/Tiny-1B"),
        ("a GGUF file", "names Tiny", f"{EXPORT} some/Tiny-1B {TEXT} Tiny-1B-onnx", "compile Tiny"),
    ),
    "gguf cut off": ("m.gguf", gguf(name="Tiny")[:60], ("a GGUF file", "llama.cpp", EXPORT)),
    "safetensors": ("w.safetensors", safetensors(), ("a file of safetensors", "graph", EXPORT)),
    "torch": ("pytorch_model.bin", zipped("archive/data.pkl"), ("PyTorch", "torch.onnx.export")),
    "torch script": ("m.pt", zipped("m/code/__torch__.py"), ("a PyTorch file", "Python objects")),
    "torch, old": ("m.pth", pickled(), ("a PyTorch file", "OWNER/NAME")),
    "ort": ("m.ort", flatbuffer(b"ORTM"), ("in ORT format", "for itself", "that .onnx file")),
    "tflite": ("m.tflite", flatbuffer(b"TFL3"), ("a TFLite model", "an engine", EXPORT)),
    "litertlm": ("m.litertlm", b"LITERTLM\1\0\0\0", ("a LiteRT-LM model", "an engine", EXPORT)),
    "executorch": ("m.pte", flatbuffer(b"ET12"), ("an ExecuTorch model", "an engine", EXPORT)),
    "mnn": ("m.mnn", b"\x30\0\0\0\0\0\x2c\0", ("an MNN model", "an engine", EXPORT)),
    "core ml": ("m.mlmodel", b"\x08\x04\x12\x02", ("a Core ML model", "an engine", EXPORT)),
    "openvino": ("m.xml", b'<?xml version="1.0"?>\n<net name="x">', ("an OpenVINO model", EXPORT)),
    "keras": ("m.h5", b"\x89HDF\r\n\x1a\n\0", ("an HDF5 file", "Keras", "tf2onnx")),
    "numpy": ("m.npy", b"\x93NUMPY\1\0", ("a NumPy file", "an array", ".onnx file")),
    "zip": ("m.zip", zipped("model.onnx"), ("an archive", "packed", "unpack")),
    "tar": ("m.tar", bytes(257) + b"ustar\x0000", ("an archive", "packed", "unpack")),
    "gzip": ("m.onnx.gz", b"\x1f\x8b\x08\0", ("an archive", "packed", "unpack")),
    "part": (
        "m.onnx.part",
        b"\x08\x07\x12\x04",
        ("an unfinished download", "is missing", "finish"),
    ),
    "data": ("m.onnx_data", bytes(range(1, 99)), ("the weights of a model", "m.onnx")),
    "json": ("config.json", b'{"a": 1}', ("a JSON file", '{"a": 1}', "pocketcl compile")),
    "text": ("model.onnx", b"Entry not found", ("a text file", "Entry not found", AGAIN)),
    "noise": ("model.onnx", b"\x08\x07\xff\0\1", ("not a usable ONNX model", AGAIN)),
}

HF = {"config.json": config("LlamaForCausalLM"), "model.safetensors": safetensors()}
FOLDER_CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "transformers": (HF, ("a Hugging Face folder", "model.safetensors", EXPORT, TEXT)),
    "transformers, old": (
        {"config.json": "{}", "pytorch_model-00001-of-00002.bin": zipped("archive/data.pkl")},
        ("a Hugging Face folder", "pytorch_model", EXPORT, TEXT),
    ),
    "pointers": (
        {"config.json": config("LlamaForCausalLM"), "model.safetensors": POINTER},
        ("a clone without its large files", "model.safetensors", "lfs pull"),
    ),
    "adapter": (
        {"adapter_config.json": '{"base_model_name_or_path": "some/Tiny"}', "a.safetensors": b"1"},
        ("an adapter", "LoRA", "into some/Tiny", EXPORT),
    ),
    "gguf": ({"a.gguf": gguf(name="Tiny 1B")}, ("a GGUF file", "names Tiny 1B", EXPORT)),
    "tensorflow": ({"saved_model.pb": b"\x08\1"}, ("a TensorFlow model", "ONNX", "tf2onnx")),
    "mnn": ({"llm.mnn": b"1", "config.json": "{}"}, ("another engine", "engine of", EXPORT)),
    "openvino": ({"openvino_model.xml": b"<net "}, ("another engine", "an engine of", EXPORT)),
    "diffusers": ({"model_index.json": "{}"}, ("several models", "diffusers", "inspect")),
    "no weights": ({"config.json": "{}"}, ("without its weights", "config.json", "hf download")),
    "empty": ({}, ("holds no ONNX model", "it is empty", "folder of an export")),
    "others": ({"a.txt": "x", "b.txt": "y"}, ("holds no ONNX model", "a.txt, b.txt", "export")),
    "two": ({"a.onnx": b"\x08", "b.onnx": b"\x08"}, ("which model", "a.onnx, b.onnx", "name one")),
    "deeper": ({"cpu/x/a.onnx": b"\x08"}, ("which model", "cpu/x/a.onnx", "name one")),
    "translator": (
        {"encoder_model.onnx": b"\x08", "decoder_model.onnx": b"\x08"},
        ("an encoder and a decoder", "alone", "inspect"),
    ),
}


def error_of(*args: Any) -> str:
    """The error of a command: exit code 1, three facts, no traceback, nothing on stdout."""
    result = CliRunner().invoke(cli.cli, [str(arg) for arg in args])
    labels = [line[:11] for line in result.stderr.splitlines() if line[:11].strip()]
    assert result.exit_code == 1 and result.stdout == "", result.output
    assert labels[0].startswith("Error: ") and "unexpected" not in labels[0], result.stderr
    assert labels[1:] == ["  because: ", "  try:     "], result.stderr
    return result.stderr


@pytest.mark.parametrize("case", FILE_CASES)
@pytest.mark.parametrize("command", ["compile", "inspect"])
def test_a_file(tmp_path: Path, command: str, case: str) -> None:
    name, content, words = FILE_CASES[case]
    file = tmp_path / "given" / name
    folder(file.parent, {name: content})
    error = error_of(command, file)
    assert str(file) in error.splitlines()[0]
    assert [word for word in words if word not in error] == [], error
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


@pytest.mark.parametrize("case", FOLDER_CASES)
@pytest.mark.parametrize("command", ["compile", "inspect"])
def test_a_folder(tmp_path: Path, command: str, case: str) -> None:
    files, words = FOLDER_CASES[case]
    given = folder(tmp_path / "given", files)
    given.mkdir(exist_ok=True)
    error = error_of(command, given)
    assert str(given) in error.splitlines()[0]
    assert [word for word in words if word not in error] == [], error


def test_every_row_of_the_tables_is_tested(tmp_path: Path) -> None:
    """The first row that fits is what is said; a row that never is first says nothing."""
    said = set()
    for case, (name, content, _) in FILE_CASES.items():
        seen = Seen(folder(tmp_path / case, {name: content}) / name)
        said.add(next((kind.what for kind in FILES if kind.fits(seen)), ""))
    for case, (files, _) in FOLDER_CASES.items():
        (tmp_path / "folders" / case).mkdir(parents=True)
        seen = Seen(folder(tmp_path / "folders" / case, files))
        said.add(next((kind.what for kind in FOLDERS if kind.fits(seen)), ""))
    plan = {"a part of a compiled plan", "a compiled plan"}
    assert {kind.what for kind in (*FILES, *FOLDERS)} == (said - {""}) | plan


def test_real_models_are_nothing_else() -> None:
    seen = Seen(DEMO / "model.onnx")
    assert [kind.what for kind in FILES if kind.fits(seen)] == []


def test_what_is_no_text_model_gets_no_promise(tmp_path: Path) -> None:
    given = folder(tmp_path / "bert", HF | {"config.json": config("BertModel")})
    error = error_of("compile", given)
    assert "not a text decoder, but BertModel" in error and TEXT not in error
    assert "pocketcl inspect bert-onnx --unsupported" in error


def test_a_file_of_a_folder_of_transformers_names_the_folder(tmp_path: Path) -> None:
    given = folder(tmp_path / "tiny llama", HF)
    error = error_of("compile", given / "model.safetensors")
    assert f"{EXPORT} '{given}' {TEXT} 'tiny llama-onnx'" in error


def test_here_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder(tmp_path / "tiny", HF))
    assert f"{EXPORT} {tmp_path / 'tiny'} {TEXT} tiny-onnx" in error_of("compile", ".")


def test_pointers_beside_a_model(tmp_path: Path) -> None:
    """A clone without Git LFS has the small model, and a note in place of what is large."""
    model = (DEMO / "model.onnx").read_bytes()
    given = folder(tmp_path / "clone", {"model.onnx": model, "tokenizer.json": POINTER})
    assert "tokenizer.json is a Git LFS pointer" in error_of("compile", given)


def test_pointers_in_place_of_external_data(tmp_path: Path) -> None:
    given = folder(tmp_path, {"x": b""})
    model = onnx.load(DEMO / "model.onnx")
    onnx.save(model, given / "model.onnx", save_as_external_data=True, location="model.onnx_data")
    (given / "model.onnx_data").write_bytes(POINTER)
    assert "model.onnx_data is a Git LFS pointer" in error_of("compile", given)


def test_a_gguf_header_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    file, whole = tmp_path / "m.gguf", gguf(name="Tiny", repo_url="https://hf.co/some/tiny.git")
    for length in range(4, len(whole)):
        file.write_bytes(whole[:length])
        assert origin(file) in (("", ""), ("Tiny", ""))
    file.write_bytes(whole)
    assert origin(file) == ("Tiny", "some/tiny")
    file.write_bytes(whole[:16] + b"\xff" * 8 + whole[24:])  # so many entries
    assert origin(file) == ("Tiny", "some/tiny")
