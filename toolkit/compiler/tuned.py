"""Files of tuned knobs, one per device profile; the user's own override the shipped ones.

{"format": 1, "profile": "pocl", "device": …, "driver": …, "date": …,
 "kernels": {"gemv_quantized_cpu": {"N2048 K2048 e0m4 32": {"PREFETCH": 32}}}}

A shape without knobs was found to be fastest at the defaults. `tune` is the only author. Unknown
entries are ignored, because the file may be of another version of the kernels.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import opencl_kernels
from opencl_kernels import KERNELS
from opencl_kernels.device_class import CLASSES
from opencl_kernels.tuned import Table, values_of
from toolkit import files as atomic
from toolkit.errors import PocketError
from toolkit.paths import cache_dir
from toolkit.progress import note_on_stderr

FORMAT = 1
PACKAGE = Path(opencl_kernels.__file__).parent
Note = Callable[[str], None]


def user_file(profile: str) -> Path:
    """The file of the user's own knobs for a profile."""
    return cache_dir() / "tuned" / _file_name(profile)


def shipped_file(profile: str) -> Path:
    """The file of knobs that comes with PocketCL."""
    return PACKAGE / "tuned" / _file_name(profile)


def tuned_table(profile: str, note: Note = note_on_stderr) -> Table:
    """The knobs for a profile; the user's override the shipped ones, shape by shape."""
    return merged(read_table(shipped_file(profile), note), read_table(user_file(profile), note))


def merged(first: Table, second: Table) -> dict[str, dict[str, dict[str, int]]]:
    """Both tables; for a shape in both, the knobs of the second."""
    names = sorted({*first, *second})
    found = {name: {**first.get(name, {}), **second.get(name, {})} for name in names}
    return {n: {s: dict(shapes[s]) for s in sorted(shapes)} for n, shapes in found.items()}


def read_table(path: Path, note: Note) -> Table:
    """The table of a file; an unreadable file costs only speed, so it is a note, not an error."""
    try:
        body = json.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        note(f"note: {path} is ignored: {error}")
        return {}
    kernels = body.get("kernels") if isinstance(body, dict) else None
    if not isinstance(kernels, dict) or body.get("format") != FORMAT:
        note(f"note: {path} is ignored: it is not a file of tuned knobs of this version")
        return {}
    faults = list[str]()
    table = {name: dict(_shapes(name, shapes, faults)) for name, shapes in kernels.items()}
    if faults:
        more = f" and {len(faults) - 1} more" if faults[1:] else ""
        note(f"note: {path}: ignored {faults[0]}{more}")
    return {name: shapes for name, shapes in table.items() if shapes}


def write_table(path: Path, facts: Mapping[str, str], table: Table) -> None:
    """Merge a table into a file atomically; `facts` record the device, driver and date."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.alone_in(path.parent):  # another tune may be writing to the same file
            known = merged(read_table(path, lambda _: None), table)
            atomic.write_text(path, _text(facts, known))
    except OSError as error:
        raise PocketError(f"cannot write {path}", error, "check permissions and space") from None


def check_checkout(profile: str) -> Path:
    """The file that `--save` writes; raises unless this is a writable checkout."""
    path = shipped_file(profile)
    if not (PACKAGE.parent / "pyproject.toml").is_file():
        because = f"{PACKAGE} is an installed package, not a checkout"
    elif not os.access(path.parent if path.parent.exists() else PACKAGE, os.W_OK):
        because = f"{path.parent} cannot be written to"
    else:
        return path
    hint = "leave out --save: your own compiles use the knobs anyway"
    raise PocketError("--save has no file to write to", because, hint)


def _file_name(profile: str) -> str:
    return re.sub(r"[^\w.-]", "_", profile) + ".json"


def _text(facts: Mapping[str, str], table: Table) -> str:
    kernels = ",\n".join(f"{json.dumps(name)}: {_lines(table[name])}" for name in table)
    head = json.dumps({"format": FORMAT, **facts})[1:-1]
    return f'{{\n{head},\n"kernels": {{\n{kernels}\n}}\n}}\n'


def _lines(shapes: Mapping[str, Mapping[str, int]]) -> str:
    lines = [f"{json.dumps(shape)}: {json.dumps(knobs)}" for shape, knobs in shapes.items()]
    return "{\n " + ",\n ".join(lines) + "\n}"


def _shapes(name: str, shapes: Any, faults: list[str]) -> Iterator[tuple[str, dict[str, int]]]:
    """The shapes of a kernel, without unknown entries, which are added to `faults`."""
    if name not in KERNELS or not isinstance(shapes, dict):
        faults.append(f"kernel {name!r:.40}")
        return
    for shape, knobs in shapes.items():
        if not isinstance(knobs, dict):
            faults.append(f"{name} {shape!r:.60}")
            continue
        allowed = {k: v for k, v in knobs.items() if _known(name, k, v)}
        faults += [f"{k}={v!r:.20} of {name}" for k, v in knobs.items() if k not in allowed]
        yield shape, allowed


def _known(kernel: str, knob: str, value: Any) -> bool:
    """Whether any device class has this value of the knob; a file doesn't name its class."""
    known = KERNELS[kernel]
    classes = CLASSES if knob in known.knobs else ()
    return type(value) is int and any(value in values_of(known, knob, each) for each in classes)
