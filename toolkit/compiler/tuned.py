"""Files of tuned knobs, one for each device profile: the user's own before the shipped ones.

{"format": 1, "profile": "pocl", "device": …, "driver": …, "date": …,
 "kernels": {"gemv_quantized_cpu": {"N2048 K2048 e0m4 32": {"PREFETCH": 32}}}}

A shape without knobs was measured to be best at the defaults. `tune` is the only author; what a
file holds that is unknown here is ignored, for its kernels may be of another version.
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
    """Where a user's own knobs for a profile lie."""
    return cache_dir() / "tuned" / _file_name(profile)


def shipped_file(profile: str) -> Path:
    """Where those lie that come with PocketCL."""
    return PACKAGE / "tuned" / _file_name(profile)


def tuned_table(profile: str, note: Note = note_on_stderr) -> Table:
    """The knobs known for a profile; the user's overrule shipped ones shape by shape."""
    return merged(read_table(shipped_file(profile), note), read_table(user_file(profile), note))


def merged(first: Table, second: Table) -> dict[str, dict[str, dict[str, int]]]:
    """Both tables; where both know a shape, the second one's knobs."""
    names = sorted({*first, *second})
    found = {name: {**first.get(name, {}), **second.get(name, {})} for name in names}
    return {n: {s: dict(shapes[s]) for s in sorted(shapes)} for n, shapes in found.items()}


def read_table(path: Path, note: Note) -> Table:
    """The table of a file; a file that cannot be read costs speed only, so it is but noted."""
    try:
        body = json.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        note(f"note: {path} is ignored: {error}")
        return {}
    kernels = body.get("kernels") if isinstance(body, dict) else None
    if not isinstance(kernels, dict) or body.get("format") != FORMAT:
        note(f"note: {path} is ignored: it is no file of tuned knobs of this version")
        return {}
    faults = list[str]()
    table = {name: dict(_shapes(name, shapes, faults)) for name, shapes in kernels.items()}
    if faults:
        more = f" and {len(faults) - 1} more" if faults[1:] else ""
        note(f"note: {path}: ignored {faults[0]}{more}")
    return {name: shapes for name, shapes in table.items() if shapes}


def write_table(path: Path, facts: Mapping[str, str], table: Table) -> None:
    """Join a table to what the file holds, all at once; `facts` say where and when it came from."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.alone_in(path.parent):  # another tune may join its table to the same file
            known = merged(read_table(path, lambda _: None), table)
            atomic.write_text(path, _text(facts, known))
    except OSError as error:
        raise PocketError(f"cannot write {path}", error, "check permissions and space") from None


def check_checkout(profile: str) -> Path:
    """The file that `--save` writes; raise where this is no checkout that can be written to."""
    path = shipped_file(profile)
    if not (PACKAGE.parent / "pyproject.toml").is_file():
        because = f"{PACKAGE} is an installed package, not a checkout"
    elif not os.access(path.parent if path.parent.exists() else PACKAGE, os.W_OK):
        because = f"{path.parent} cannot be written to"
    else:
        return path
    hint = "leave --save out: your own compiles use the knobs anyway"
    raise PocketError("--save has no place to write to", because, hint)


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
    """The shapes of a kernel, less what is unknown."""
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
    """Whether a class of devices has such a knob; which one a file is for, it doesn't say."""
    of = KERNELS[kernel]
    classes = CLASSES if knob in of.knobs else ()
    return type(value) is int and any(value in values_of(of, knob, each) for each in classes)
