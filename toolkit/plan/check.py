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
from toolkit.plan.arena import lifetimes, overlap
from toolkit.plan.expr import Box, Expr, divisor, interval, maximum, product, symbols_of
from toolkit.plan.reader import RECOMPILE, damaged
from toolkit.plan.schema import (
    BUILD_OPTIONS,
    DTYPE_BYTES,
    FEATURES,
    WEIGHT_ALIGN,
    Buffer,
    Dispatch,
    FileEntry,
    HostStep,
    Phase,
    Plan,
    Program,
    Scratch,
    Step,
    Variant,
    Weight,
)

HOST_OPS = ("fetch",)
QUEUES = 16
INT32_MAX = 2**31 - 1
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
LM_SYMBOLS = ("seq", "past", "rows")
LM_BUFFERS = ("tokens", "ids", "logits")
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
    yield from _unique("files", [f.path for f in plan.files])
    yield from _symbol_problems(plan)
    align = plan.profile.get("align")
    if type(align) is not int or not 0 < align <= WEIGHT_ALIGN:
        yield damaged("profile.align", f"{align!r:.40} is no alignment in bytes")
    if not _is_size(plan.profile.get("local_memory", 1)):  # younger than the format
        room = plan.profile["local_memory"]
        yield damaged("profile.local_memory", f"{room!r:.40} is no size of local memory")
    for key in ("buffers", "weights", "phases"):
        yield from _unique(key, [item.name for item in getattr(plan, key)])
    for i, buffer in enumerate(plan.buffers):
        yield from _buffer_problems(f"buffers[{i}]", buffer, plan.box())
    for i, weight in enumerate(plan.weights):
        yield from _weight_problems(f"weights[{i}]", weight, plan.files)
    for i, program in enumerate(plan.programs):
        yield from _program_problems(f"programs[{i}]", program, plan.files)
    for i, phase in enumerate(plan.phases):
        yield from _phase_problems(f"phases[{i}]", phase, plan)
    yield from _model_problems(plan)


def _file_problems(files: Sequence[FileEntry]) -> Iterator[PocketError]:
    for i, entry in enumerate(files):
        parts = PurePosixPath(entry.path).parts
        if not parts or ".." in parts or entry.path.startswith("/") or "\\" in entry.path:
            yield damaged(f"files[{i}].path", f"{entry.path!r} is no path inside the plan")
        if entry.bytes < 0:
            yield damaged(f"files[{i}].bytes", f"{entry.bytes} is negative")


def _unique(key: str, names: Sequence[str]) -> Iterator[PocketError]:
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if seen.setdefault(name, i) != i:
            yield damaged(f"{key}[{i}]", f"{name!r} stands at [{seen[name]}] already")


def _symbol_problems(plan: Plan) -> Iterator[PocketError]:
    yield from _unique("symbols", [s.name for s in plan.symbols])
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
    yield from _storage_problems(at, buffer.dtype, buffer.shape, buffer.bytes, box)


def _weight_problems(at: str, w: Weight, files: Sequence[FileEntry]) -> Iterator[PocketError]:
    yield from _index_problems(f"{at}.file", w.file, len(files))
    if w.offset < 0 or w.offset % WEIGHT_ALIGN:
        yield damaged(f"{at}.offset", f"{w.offset} is no multiple of {WEIGHT_ALIGN}")
    if w.offset + w.bytes > files[w.file].bytes:
        yield damaged(at, f"it ends at {w.offset + w.bytes}, behind its file {files[w.file].path}")
    yield from _storage_problems(at, w.dtype, w.shape, w.bytes, {})


def _program_problems(at: str, p: Program, files: Sequence[FileEntry]) -> Iterator[PocketError]:
    if p.source not in {f.path for f in files}:
        yield damaged(f"{at}.source", f"{p.source!r} is not in the list of files")
    for name in (p.kernel, *(name for name, _ in p.defines)):
        if not re.fullmatch(r"[A-Za-z_]\w*(\([\w, ]*\))?", name):
            yield damaged(at, f"{name!r} is no name in OpenCL C")
    for i, option in enumerate(p.options):
        if option not in BUILD_OPTIONS:
            yield damaged(f"{at}.options[{i}]", f"{option!r:.60} is no known option of a build")
    yield from _unique(f"{at}.options", p.options)


def _storage_problems(
    at: str, dtype: str, shape: tuple[Expr, ...], nbytes: int, box: Box
) -> Iterator[PocketError]:
    """Known type, sizes over known symbols, and room for the largest shape."""
    if dtype not in DTYPE_BYTES:
        yield damaged(f"{at}.dtype", f"unknown type {dtype!r}; known: {', '.join(DTYPE_BYTES)}")
    for i, dim in enumerate(shape):
        yield from _expr_problems(f"{at}.shape[{i}]", dim, box)
    needed = maximum(product(shape), box) * DTYPE_BYTES[dtype]
    if nbytes < max(1, needed):
        yield damaged(f"{at}.bytes", f"{nbytes} are too few for {needed} at the largest shape")


def _expr_problems(at: str, expr: Expr, box: Box) -> Iterator[PocketError]:
    unknown = sorted(symbols_of(expr) - set(box))
    if unknown:
        yield damaged(at, f"unknown symbol or operator {unknown[0]!r}")
    try:
        low = interval(expr, box)[0]
    except PocketError as error:
        raise damaged(at, error.because) from None
    if low < 0:
        yield damaged(at, f"{expr} may be negative")


def _index_problems(at: str, index: int, count: int) -> Iterator[PocketError]:
    if not 0 <= index < count:
        yield damaged(at, f"index {index} is out of range: there are {count}")


# --- phases ------------------------------------------------------------------------------------


def _phase_problems(at: str, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    box = plan.box()
    for name, (low, high) in phase.bounds.items():
        if name not in box:
            yield damaged(f"{at}.bounds.{name}", "no such symbol")
        if not box[name][0] <= low <= high <= (box[name][1] or 0):
            yield damaged(f"{at}.bounds.{name}", f"[{low}, {high}] is not inside {box[name]}")
    box = plan.box(phase)
    if not 0 <= phase.arena_bytes < 2**62:
        yield damaged(f"{at}.arena_bytes", f"{phase.arena_bytes} is impossible")
    if phase.cooperative is not None:
        number = phase.cooperative.program
        yield from _index_problems(f"{at}.cooperative.program", number, len(plan.programs))
    for i, s in enumerate(phase.scratch):
        yield from _scratch_problems(f"{at}.scratch[{i}]", s, phase, plan)
    for i, step in enumerate(phase.steps):
        yield from _step_problems(f"{at}.steps[{i}]", step, phase, plan, box)
    yield from _overlaps(at, phase)


def _scratch_problems(at: str, s: Scratch, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    box = plan.box(phase)
    yield from _expr_problems(f"{at}.size", s.size, box)
    if s.bytes < maximum(s.size, box):
        yield damaged(f"{at}.bytes", f"{s.bytes} are too few for {maximum(s.size, box)}")
    yield from _storage_problems(at, s.dtype, s.shape, s.bytes, box)
    if s.offset is None:
        yield damaged(f"{at}.offset", "the key is missing")
    elif s.offset < 0 or s.offset % plan.profile["align"]:
        yield damaged(f"{at}.offset", f"{s.offset} is no multiple of {plan.profile['align']}")
    elif s.offset + s.bytes > phase.arena_bytes:
        yield damaged(at, f"it ends at {s.offset + s.bytes}, behind the arena's end")


def _overlaps(at: str, phase: Phase) -> Iterator[PocketError]:
    """Two scratch tensors that share bytes while both are in use."""
    if pair := overlap(lifetimes(phase), [s.offset or 0 for s in phase.scratch]):
        names = " and ".join(repr(phase.scratch[i].name) for i in pair)
        yield damaged(f"{at}.scratch[{pair[1]}].offset", f"{names} overlap while both are in use")


def _step_problems(
    at: str, step: Step, phase: Phase, plan: Plan, box: Box
) -> Iterator[PocketError]:
    if not 0 <= step.queue < QUEUES:
        yield damaged(f"{at}.queue", f"{step.queue} is no queue")
    if isinstance(step, HostStep):
        if step.op not in HOST_OPS:
            yield damaged(f"{at}.op", f"unknown built-in {step.op!r}")
        yield from _index_problems(f"{at}.buffer", step.buffer, len(plan.buffers))
    if isinstance(step, Dispatch):
        yield from _dispatch_problems(at, step, phase, plan)
        for i, variant in enumerate(step.variants):
            yield from _variant_problems(f"{at}.variants[{i}]", variant, plan, box)


def _dispatch_problems(at: str, step: Dispatch, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    counts = {"scratch": phase.scratch, "weight": plan.weights, "buffer": plan.buffers}
    for i, ref in enumerate(step.args):
        if len(ref) == 2:
            yield from _index_problems(f"{at}.args[{i}]", ref[1], len(counts[ref[0]]))
    for i, write in enumerate(step.writes):
        yield from _index_problems(f"{at}.writes[{i}]", write, len(step.args))
        if step.args[write][0] == "weight":
            yield damaged(f"{at}.writes[{i}]", "a weight is never written")
    if not step.variants:
        yield damaged(f"{at}.variants", "there is no way to run this dispatch")


def _variant_problems(at: str, v: Variant, plan: Plan, box: Box) -> Iterator[PocketError]:
    yield from _index_problems(f"{at}.program", v.program, len(plan.programs))
    if not 1 <= len(v.global_size) <= 3 or len(v.local_size) != len(v.global_size):
        yield damaged(at, f"grid of {len(v.global_size)} by {len(v.local_size)} dimensions")
    for i, (size, local) in enumerate(zip(v.global_size, v.local_size, strict=True)):
        yield from _expr_problems(f"{at}.global[{i}]", size, box)
        if local <= 0:
            yield damaged(f"{at}.local[{i}]", f"{local} is not positive")
        if divisor(size, box) % local:
            because = f"{size} is no multiple of the local size {local} everywhere"
            yield damaged(f"{at}.global[{i}]", because)
    for name in v.requires:
        if name not in FEATURES:
            yield damaged(f"{at}.requires", f"unknown feature {name!r}")
    if not 0 <= (v.local_bytes or 0) <= INT32_MAX:
        yield damaged(f"{at}.local_bytes", f"{v.local_bytes} is no size of local memory")


# --- language models ---------------------------------------------------------------------------


def _model_problems(plan: Plan) -> Iterator[PocketError]:
    if plan.model.get("kind") != "language-model":
        return
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


def _room_for_ids(plan: Plan) -> Iterator[PocketError]:
    """The executors write tokens and read ids and logits by these sizes."""
    batch, vocab, context, chunk = (plan.model[key] for key in LM_SIZES)
    rows = plan.box(plan.phase("score"))["rows"][1] if plan.phase("score") else 1
    needed = {"tokens": batch * chunk, "ids": batch * (context + 1), "logits": batch * rows * vocab}
    for i, b in enumerate(plan.buffers):
        if b.bytes < 4 * needed.get(b.name, 0):
            yield damaged(
                f"buffers[{i}].bytes", f"{b.bytes} are too few for {needed[b.name]} items"
            )
    if chunk > (plan.box(plan.phase("prefill"))["seq"][1] or 0):
        yield damaged("model.prefill_chunk", f"{chunk} is more than the prefill phase takes")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= INT32_MAX
