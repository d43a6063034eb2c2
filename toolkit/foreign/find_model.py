"""Find the .onnx file of a path, or raise an error that says how to get one."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from toolkit.errors import PocketError
from toolkit.foreign.files import FILES
from toolkit.foreign.folders import FOLDERS, WHATEVER_IT_HOLDS
from toolkit.foreign.kinds import Seen, refuse
from toolkit.foreign.marks import is_onnx
from toolkit.foreign.missing_path import not_there
from toolkit.foreign.steps import CONFIG, run_plan
from toolkit.paths import PLAN_FILE

PREFERRED = ("model.onnx", "decoder_model_merged.onnx", "decoder_model.onnx")
PARTS = re.compile(r"embed|vision|image|audio|speech|encoder")  # of models that see and hear
INSIDE = "onnx"  # where repositories made for transformers.js keep their models
DEPTH = 3  # levels of folders that are searched for .onnx files to suggest
UNINFORMATIVE = re.compile(r"((decoder_)?(with_past_)?model(_merged)?|decoder)(?=$|[-_.])")


def find_model(path: Path) -> Path:
    """The .onnx file of a path, itself or the one in an exporter's folder, links resolved."""
    if not path.exists():
        raise not_there(path, f"there is no model at {path}")
    if (found := _found(path)) is not None:
        return _links_resolved(found)
    names = sorted(Seen(path).names)
    because = f"in it: {', '.join(names[:6])}{', …' * (len(names) > 6)}" if names else "it is empty"
    raise PocketError(f"{path} holds no ONNX model", because, "name the folder of an export")


def _links_resolved(model: Path) -> Path:
    """The target of a link to a model, since the files that belong to a model are next to it.

    A hub's cache is different: these files are next to the link, and its target is named by a
    checksum. There only the folder is resolved.
    """
    real = model.resolve()
    return real if real.suffix == model.suffix else model.parent.resolve() / model.name


def refuse_model(path: Path) -> None:
    """Raise if a path given as a plan does not exist, or is known to be something else."""
    if not path.exists():
        raise not_there(path, f"{path} is not a plan")
    if (path / PLAN_FILE).is_file():
        return
    if plans := sorted(path.glob(f"*/{PLAN_FILE}")) if path.is_dir() else []:
        because = f"plans in it: {', '.join(plan.parent.name for plan in plans)}"
        raise PocketError(f"{path} is not a plan itself", because, run_plan(plans[0].parent))
    if (found := _found(path)) is not None and is_onnx(Seen(found)):
        because = "a model is compiled once to a plan, and the plan is run"
        plan = Path(plan_name(_links_resolved(found)))
        hint = f"pocketcl compile {quote(str(path))}\n{run_plan(plan)}"
        raise PocketError(f"{path} is a model that is not compiled yet", because, hint)


def home_of(model: Path) -> Path:
    """The folder of a model's tokenizer and settings: its own, or the one above a folder `onnx`."""
    folder = model.parent
    inside = folder.name == INSIDE and not (folder / CONFIG).exists()
    return folder.parent if inside and (folder.parent / CONFIG).exists() else folder


def plan_name(model: Path) -> str:
    """NAME.plan for a model: after its file, or after its folder if the file has a generic name."""
    model = Path(os.path.abspath(model))
    folder = model.parent.parent if model.parent.name == INSIDE else model.parent
    if folder.parent.name == "snapshots":  # a hub's cache: models--OWNER--NAME/snapshots/HASH
        folder = folder.parent.parent
    name = re.sub(r"[-_.]onnx$", "", folder.name.rpartition("--")[2], flags=re.IGNORECASE)
    generic = UNINFORMATIVE.match(model.stem)
    if generic is None:
        return f"{model.stem}.plan"
    return f"{name or 'model'}{model.stem[generic.end() :]}.plan"


def _found(path: Path) -> Path | None:
    """The .onnx file of a path; None if nothing is recognised."""
    if path.is_file():
        refuse(path, FILES)
        return path
    if not path.is_dir():
        because = "a model is read more than once, which only a file or a folder allows"
        raise PocketError(f"{path} is neither a file nor a folder", because, "save it to a file")
    for folder in (path, path / INSIDE):
        if folder.is_dir():
            refuse(folder, WHATEVER_IT_HOLDS)
        if (found := _chosen(folder)) is not None:
            refuse(found, FILES)
            return found
    for depth in range(1, DEPTH + 1):
        if deeper := sorted(path.glob("*/" * depth + "*.onnx")):
            raise _several(path, deeper)
    refuse(path, FOLDERS)
    return None


def _chosen(folder: Path) -> Path | None:
    """The model that a folder names, that has a usual name, or that is the only one."""
    named: Any = Seen(folder).settings("genai_config.json")
    for key in ("model", "decoder", "filename"):
        named = named.get(key) if isinstance(named, dict) else None
    for name in ([named] if isinstance(named, str) else []) + list(PREFERRED):
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob("*.onnx"))
    found = [path for path in found if not PARTS.search(path.name.lower())] or found
    if len(found) > 1:
        raise _several(folder, found)
    return found[0] if found else None


def _several(folder: Path, models: Sequence[Path]) -> PocketError:
    names = [str(model.relative_to(folder)) for model in models[:8]]
    because = f".onnx files in it: {', '.join(names)}{', …' * (len(models) > 8)}"
    hint = f"name one of them: pocketcl compile {quote(str(models[0]))}"
    return PocketError(f"{folder} does not say which model to take", because, hint)
