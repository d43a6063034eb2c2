"""What to do with a model that is not ONNX: the commands that make ONNX of it."""

from pathlib import Path
from shlex import quote

from toolkit.foreign.gguf import origin
from toolkit.foreign.hubs import export, repository_of
from toolkit.foreign.kinds import Seen

CONFIG = "config.json"
OF_TEXT = ("ForCausalLM", "LMHeadModel")  # ends of the names of classes in transformers
TORCH = (
    'in Python, with the code of the model: torch.onnx.export(model, args, "model.onnx", '
    "dynamo=True)\nof a model on a hub: optimum-cli export onnx --model OWNER/NAME OUT"
)


def folder_of(path: Path) -> Path:
    """A folder by a path that has a name: `.` has none."""
    return path if path.name else path.resolve()


def classes(folder: Seen) -> list[str]:
    """The classes of transformers that a folder's settings name."""
    named = folder.settings(CONFIG).get("architectures")
    return [str(name) for name in named] if isinstance(named, list) else []


def writes_text(folder: Seen) -> bool:
    """Whether it is a decoder of text, as far as its settings say it."""
    named = classes(folder)
    return not named or any(name.endswith(OF_TEXT) for name in named)


def export_folder(folder: Seen) -> str:
    """How a folder of transformers becomes ONNX; not every model has only ops with a kernel."""
    name = str(folder_of(folder.path))
    if writes_text(folder):
        return export(name)
    return export(name, task="", then="inspect --unsupported")


def export_beside(file: Seen) -> str:
    """The same for weights that lie in such a folder, or else should."""
    if has_settings(file):
        return export_folder(Seen(file.path.absolute().parent))
    return f"put it back into the folder with the {CONFIG} of its model; then\n{export('FOLDER')}"


def has_settings(file: Seen) -> bool:
    """Whether a file lies in a folder of transformers."""
    return (file.path.absolute().parent / CONFIG).exists()


def export_original(_: Seen) -> str:
    """The way back from another engine's format."""
    return f"export the model that it was made from:\n{export('ORIGINAL')}"


def merge_adapter(folder: Seen) -> str:
    """An adapter is a change of a model."""
    named = folder.settings("adapter_config.json").get("base_model_name_or_path")
    model = repository_of(str(named)) or "its model"
    merge = f"merge it into {model} with peft's merge_and_unload() and save that as FOLDER; then"
    return f"{merge}\n{export('FOLDER')}"


def gguf_because(path: Path) -> str:
    """Why a GGUF file is no model for PocketCL, and whose weights it has."""
    name, _ = origin(path)
    of = f"; the header of {path.name} names {name}" if name else ""
    return f"llama.cpp reads it, PocketCL reads ONNX{of}"


def gguf_hint(path: Path) -> str:
    """The export of what a GGUF file was made from."""
    _, place = origin(path)
    return f"export the model that it was made from:\n{export(place or 'ORIGINAL')}"


def run_plan(path: Path) -> str:
    """How a plan is run."""
    return f'pocketcl run {quote(str(path))} "Once upon a time"'
