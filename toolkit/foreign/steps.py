"""The commands that turn a model of another format into ONNX."""

from pathlib import Path
from shlex import quote

from toolkit.foreign.gguf import origin
from toolkit.foreign.hubs import export, repository_of
from toolkit.foreign.kinds import Seen

CONFIG = "config.json"
OF_TEXT = ("ForCausalLM", "LMHeadModel")  # endings of class names in transformers
TORCH = (
    'call, with the code of the model, torch.onnx.export(model, args, "model.onnx", dynamo=True)\n'
    "or export it from a hub: optimum-cli export onnx --model OWNER/NAME OUT"
)


def folder_of(path: Path) -> Path:
    """A folder as a path that ends in its name; `.` does not."""
    return path if path.name else path.resolve()


def classes(folder: Seen) -> list[str]:
    """The transformers classes that a folder's config names."""
    named = folder.settings(CONFIG).get("architectures")
    return [str(name) for name in named] if isinstance(named, list) else []


def writes_text(folder: Seen) -> bool:
    """Whether it is a text decoder, unless its config says otherwise."""
    named = classes(folder)
    return not named or any(name.endswith(OF_TEXT) for name in named)


def export_folder(folder: Seen) -> str:
    """The export of a transformers folder; if it is no text decoder, then what lacks a kernel."""
    name = str(folder_of(folder.path))
    if writes_text(folder):
        return export(name)
    return export(name, task="", then="inspect --unsupported")


def export_beside(file: Seen) -> str:
    """The same for weights in such a folder, or that belong into one."""
    if has_settings(file):
        return export_folder(Seen(file.path.absolute().parent))
    return f"put it back into the folder with the {CONFIG} of its model, then\n{export('FOLDER')}"


def has_settings(file: Seen) -> bool:
    """Whether a file is in a transformers folder."""
    return (file.path.absolute().parent / CONFIG).exists()


def export_original(_: Seen) -> str:
    """The export of the model that another engine's file was made from."""
    return f"export the model that it was made from:\n{export('ORIGINAL')}"


def merge_adapter(folder: Seen) -> str:
    """The commands that merge an adapter into its model and export the result."""
    named = folder.settings("adapter_config.json").get("base_model_name_or_path")
    model = repository_of(str(named)) or "its model"
    merge = f"merge it into {model} with peft's merge_and_unload() and save that as FOLDER, then"
    return f"{merge}\n{export('FOLDER')}"


def gguf_because(path: Path) -> str:
    """Why PocketCL can't read a GGUF file, and which model it holds."""
    name, _ = origin(path)
    named = f"; the header of {path.name} names {name}" if name else ""
    return f"llama.cpp reads it, PocketCL reads ONNX{named}"


def gguf_hint(path: Path) -> str:
    """The export of what a GGUF file was made from."""
    _, repository = origin(path)
    return f"export the model that it was made from:\n{export(repository or 'ORIGINAL')}"


def run_plan(path: Path) -> str:
    """The command that runs a plan."""
    return f'pocketcl run {quote(str(path))} "Once upon a time"'
