"""What a plan must be so that an executor can trust it: kinds, indices, bounds, sizes, places.

Every problem names the path of keys in plan.json. The generators are lazy and the first problem
ends the check, so that a later line may rely on what an earlier one has made sure.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from toolkit.errors import PocketError
from toolkit.paths import PLAN_FILE
from toolkit.plan.check_phases import INT32_MAX, phase_problems
from toolkit.plan.check_values import (
    duplicate_problems,
    index_problems,
    size_problems,
    storage_problems,
)
from toolkit.plan.expr import Box
from toolkit.plan.reader import RECOMPILE, damaged
from toolkit.plan.schema import (
    BUILD_OPTIONS,
    WEIGHT_ALIGN,
    Buffer,
    FileEntry,
    Plan,
    Program,
    Weight,
)

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
KINDS = ("language-model",)
LM_SYMBOLS = ("seq", "past", "rows", "start.0")
LM_BUFFERS = {"tokens": "i32", "ids": "i32", "logits": "f32"}
LM_PHASES = ("prefill", "decode")
LM_SIZES = ("batch", "vocab_size", "max_context", "prefill_chunk")


def check_plan(plan: Plan, where: str = PLAN_FILE) -> None:
    """Check the meaning of everything in plan.json; raise with the path of keys."""
    try:
        for problem in _problems(plan):
            raise problem
    except PocketError as error:
        raise PocketError(f"{where} is damaged at {error.what}", error.because, RECOMPILE) from None


def _problems(plan: Plan) -> Iterator[PocketError]:
    """All checks, lazily: a later one may rely on the earlier ones having passed."""
    yield from _file_problems(plan.files)
    yield from duplicate_problems("files", [f.path for f in plan.files])
    yield from _symbol_problems(plan)
    if not isinstance(plan.profile.get("class"), str):
        yield damaged("profile.class", "it names no class of devices")
    align = plan.profile.get("align")
    if type(align) is not int or not 0 < align <= WEIGHT_ALIGN:
        yield damaged("profile.align", f"{align!r:.40} is no alignment in bytes")
    if not _is_size(plan.profile.get("local_memory", 1)):  # younger than the format
        room = plan.profile["local_memory"]
        yield damaged("profile.local_memory", f"{room!r:.40} is no size of local memory")
    for key in ("buffers", "weights", "phases"):
        yield from duplicate_problems(key, [item.name for item in getattr(plan, key)])
    for i, buffer in enumerate(plan.buffers):
        yield from _buffer_problems(f"buffers[{i}]", buffer, plan.box())
    for i, weight in enumerate(plan.weights):
        yield from _weight_problems(f"weights[{i}]", weight, plan.files)
    for i, program in enumerate(plan.programs):
        yield from _program_problems(f"programs[{i}]", program, plan.files)
    for i, phase in enumerate(plan.phases):
        yield from phase_problems(f"phases[{i}]", phase, plan)
    yield from _model_problems(plan)


def _file_problems(files: Sequence[FileEntry]) -> Iterator[PocketError]:
    for i, entry in enumerate(files):
        parts = PurePosixPath(entry.path).parts
        if not parts or ".." in parts or entry.path.startswith("/") or "\\" in entry.path:
            yield damaged(f"files[{i}].path", f"{entry.path!r} is no path inside the plan")
        yield from size_problems(f"files[{i}].bytes", entry.bytes)
        if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
            yield damaged(f"files[{i}].sha256", f"{entry.sha256!r:.40} is no checksum")


def _symbol_problems(plan: Plan) -> Iterator[PocketError]:
    yield from duplicate_problems("symbols", [s.name for s in plan.symbols])
    for i, s in enumerate(plan.symbols):
        if not NAME.fullmatch(s.name) or s.name in ("min", "max"):
            yield damaged(f"symbols[{i}].name", f"{s.name!r} is no name of a symbol")
        if s.kind not in ("input", "count"):
            yield damaged(f"symbols[{i}].kind", f"unknown kind {s.kind!r}")
        if not 0 <= s.min <= s.max <= INT32_MAX:
            yield damaged(f"symbols[{i}]", f"bounds {s.min} to {s.max} are impossible")


def _buffer_problems(at: str, buffer: Buffer, box: Box) -> Iterator[PocketError]:
    if buffer.kind not in ("input", "output", "state"):
        yield damaged(f"{at}.kind", f"unknown kind {buffer.kind!r}")
    if (buffer.update in ("append", "replace", "once")) != (buffer.kind == "state"):
        yield damaged(f"{at}.update", f"{buffer.update!r} for kind {buffer.kind}")
    yield from storage_problems(at, buffer.dtype, buffer.shape, buffer.bytes, box)


def _weight_problems(at: str, w: Weight, files: Sequence[FileEntry]) -> Iterator[PocketError]:
    yield from index_problems(f"{at}.file", w.file, len(files))
    if w.offset < 0 or w.offset % WEIGHT_ALIGN:
        yield damaged(f"{at}.offset", f"{w.offset} is no multiple of {WEIGHT_ALIGN}")
    if w.offset + w.bytes > files[w.file].bytes:
        yield damaged(at, f"it ends at {w.offset + w.bytes}, after the end of {files[w.file].path}")
    yield from storage_problems(at, w.dtype, w.shape, w.bytes, {})


def _program_problems(at: str, p: Program, files: Sequence[FileEntry]) -> Iterator[PocketError]:
    if p.source not in {f.path for f in files}:
        yield damaged(f"{at}.source", f"{p.source!r} is not in the list of files")
    for name in (p.kernel, *(name for name, _ in p.defines)):
        if not re.fullmatch(r"[A-Za-z_]\w*(\([\w, ]*\))?", name):
            yield damaged(at, f"{name!r} is no name in OpenCL C")
    for i, option in enumerate(p.options):
        if option not in BUILD_OPTIONS:
            yield damaged(f"{at}.options[{i}]", f"{option!r:.60} is no known option of a build")
    yield from duplicate_problems(f"{at}.options", p.options)


# --- language models ---------------------------------------------------------------------------


def _model_problems(plan: Plan) -> Iterator[PocketError]:
    kind = plan.model.get("kind")
    if kind not in KINDS:
        yield damaged("model.kind", f"unknown kind {kind!r:.40}; known: {', '.join(KINDS)}")
    for key in LM_SIZES:
        if not _is_size(plan.model.get(key)):
            yield damaged(f"model.{key}", f"{plan.model.get(key)!r:.40} is no size")
    eos = plan.model.get("eos")
    if not isinstance(eos, list) or any(type(token) is not int for token in eos):
        yield damaged("model.eos", f"{eos!r:.40} is no list of ids")
    for key, wanted in (("symbols", LM_SYMBOLS), ("buffers", LM_BUFFERS), ("phases", LM_PHASES)):
        missing = set(wanted) - {item.name for item in getattr(plan, key)}
        if missing:
            yield damaged(key, f"a language model needs {sorted(missing)[0]!r}")
    yield from _room_for_ids(plan)
    yield from _bounds_problems(plan)


def _bounds_problems(plan: Plan) -> Iterator[PocketError]:
    """A phase's sizes hold within its bounds only: it must take whatever a text may need."""
    past = int(plan.model["max_context"]) - 1
    for i, phase in enumerate(plan.phases):
        if phase.name not in (*LM_PHASES, "score"):
            continue
        box = plan.box(phase)
        rows = min(plan.model["prefill_chunk"], box["seq"][1] or 0) if phase.name == "score" else 1
        for name, low, high in (("seq", 1, 1), ("past", 0, past), ("rows", 1, rows)):
            if box[name][0] > low or (box[name][1] or 0) < high:
                because = f"{name} must include {low} to {high}"
                yield damaged(f"phases[{i}].bounds", because)


def _room_for_ids(plan: Plan) -> Iterator[PocketError]:
    """The executors write tokens and read ids and logits by these sizes."""
    batch, vocab, context, chunk = (plan.model[key] for key in LM_SIZES)
    rows = plan.box(plan.phase("score"))["rows"][1] if plan.phase("score") else 1
    needed = {"tokens": batch * chunk, "ids": batch * (context + 1), "logits": batch * rows * vocab}
    for i, b in enumerate(plan.buffers):
        if b.dtype != LM_BUFFERS.get(b.name, b.dtype):
            yield damaged(f"buffers[{i}].dtype", f"expected {LM_BUFFERS[b.name]}")
        if b.bytes < 4 * needed.get(b.name, 0):
            yield damaged(
                f"buffers[{i}].bytes", f"{b.bytes} are too few for {needed[b.name]} items"
            )
    if chunk > (plan.box(plan.phase("prefill"))["seq"][1] or 0):
        yield damaged("model.prefill_chunk", f"{chunk} is more than the prefill phase takes")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= INT32_MAX
