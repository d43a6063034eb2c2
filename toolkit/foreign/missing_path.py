"""A path that does not exist: a model's name on a hub, an address, or a typing mistake."""

import re
from pathlib import Path

from toolkit.errors import NotThere, PocketError
from toolkit.foreign.hubs import export, fetch, is_address, repository_of
from toolkit.nearest import nearest

ENDINGS = (".onnx", ".gguf", ".safetensors", ".plan", ".bin", ".pt", ".ort", ".json", ".zip")
NO_DOWNLOADS = "PocketCL downloads nothing: it reads files of this machine"


def not_there(path: Path, what: str) -> PocketError:
    """The error for a path that does not exist; `what` says so if it is no address or hub name."""
    text = re.sub(r"^(\w+):/+", r"\1://", str(path))  # pathlib keeps one slash of an address
    repository = repository_of(text)
    if is_address(text):
        hint = (
            fetch(repository, text)
            if repository
            else "download it, then compile the file or its folder"
        )
        return PocketError(f"{text} is an address", NO_DOWNLOADS, hint)
    if repository and not path.parent.exists() and not text.lower().endswith(ENDINGS):
        because = f"there is no such folder, and {NO_DOWNLOADS}"
        return PocketError(f"{text} is not on this computer", because, fetch(repository))
    return _mistyped(path, what)


def near_paths(path: Path) -> list[str]:
    """Existing paths whose names are like the first missing part of a path."""
    missing = _missing_part(path)
    close = nearest(missing.name, [entry.name for entry in _entries(missing.parent)])
    return [str(missing.with_name(name)) for name in close]


def _mistyped(path: Path, what: str) -> NotThere:
    missing, close = _missing_part(path), near_paths(path)
    because = f"there is no {'such folder or file' if missing == path else f'folder {missing}'}"
    hint = f"use {' or '.join(close)}" if close else "check the path"
    if not close and repository_of(f"hub/{path}"):
        hint = f"check the path; or export a model of this name from a hub:\n{export(path.name)}"
    return NotThere(what, because, hint)


def _missing_part(path: Path) -> Path:
    while not path.parent.exists():
        path = path.parent
    return path


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
