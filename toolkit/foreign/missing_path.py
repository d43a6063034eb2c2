"""A path that does not exist: a model's name on a hub, an address, or a slip of the keys."""

import re
from pathlib import Path

from toolkit.errors import NotThere, PocketError
from toolkit.foreign.hubs import export, fetch, is_address, repository_of
from toolkit.nearest import nearest

ENDINGS = (".onnx", ".gguf", ".safetensors", ".plan", ".bin", ".pt", ".ort", ".json", ".zip")
NO_DOWNLOADS = "PocketCL downloads nothing: it reads files of this machine"


def not_there(path: Path, what: str) -> PocketError:
    """The error for a path that does not exist: a hub's name, an address, or (`what`) a slip."""
    text = re.sub(r"^(\w+):/+", r"\1://", str(path))  # pathlib keeps one slash of an address
    place = repository_of(text)
    if is_address(text):
        hint = fetch(place, text) if place else "download it, then compile the file or its folder"
        return PocketError(f"{text} is an address", NO_DOWNLOADS, hint)
    if place and not path.parent.exists() and not text.lower().endswith(ENDINGS):
        because = f"there is no such folder, and {NO_DOWNLOADS}"
        return PocketError(f"{text} is not here", because, fetch(place))
    return _slip(path, what)


def near_paths(path: Path) -> list[str]:
    """What is there and called much like the first part of a path that is not there."""
    missing = _missing_part(path)
    close = nearest(missing.name, [entry.name for entry in _entries(missing.parent)])
    return [str(missing.with_name(name)) for name in close]


def _slip(path: Path, what: str) -> NotThere:
    missing, close = _missing_part(path), near_paths(path)
    because = f"there is no {'such folder or file' if missing == path else f'folder {missing}'}"
    hint = " or ".join(close) or "check the path"
    if not close and repository_of(f"hub/{path}"):
        hint = f"check the path; of a hub's model of this name:\n{export(path.name)}"
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
