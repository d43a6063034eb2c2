"""What a plan must be so that an executor can trust it: kinds, indices, bounds, sizes, places.

Every problem names the path of keys in plan.json. The generators are lazy and the first problem
ends the check, so that a later line may rely on what an earlier one has made sure.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from toolkit.errors import PocketError
from toolkit.paths import PLAN_FILE
from toolkit.plan.checks.kernel_tests import tests_problems
from toolkit.plan.checks.language_model import is_size, model_problems
from toolkit.plan.checks.memory import buffer_problems, states_problems, symbol_problems
from toolkit.plan.checks.phases import phase_problems
from toolkit.plan.checks.tables import tables_problems
from toolkit.plan.checks.values import (
    duplicate_problems,
    index_problems,
    size_problems,
    storage_problems,
)
from toolkit.plan.reader import RECOMPILE, damaged
from toolkit.plan.schema import (
    BUILD_OPTIONS,
    FEATURES,
    WEIGHT_ALIGN,
    DriverFault,
    FileEntry,
    Plan,
    Program,
    Weight,
)


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
    yield from symbol_problems(plan.symbols)
    if not isinstance(plan.profile.get("class"), str):
        yield damaged("profile.class", "it names no class of devices")
    align = plan.profile.get("align")
    if type(align) is not int or not 0 < align <= WEIGHT_ALIGN:
        yield damaged("profile.align", f"{align!r:.40} is no alignment in bytes")
    if not is_size(plan.profile.get("local_memory", 1)):  # not in every profile
        room = plan.profile["local_memory"]
        yield damaged("profile.local_memory", f"{room!r:.40} is no size of local memory")
    for key in ("buffers", "weights", "phases"):
        yield from duplicate_problems(key, [item.name for item in getattr(plan, key)])
    for i, buffer in enumerate(plan.buffers):
        yield from buffer_problems(f"buffers[{i}]", buffer, plan.box())
    yield from states_problems(plan.states, plan.buffers)
    for i, weight in enumerate(plan.weights):
        yield from _weight_problems(f"weights[{i}]", weight, plan.files)
    for i, program in enumerate(plan.programs):
        yield from _program_problems(f"programs[{i}]", program, plan.files)
    for i, phase in enumerate(plan.phases):
        yield from phase_problems(f"phases[{i}]", phase, plan)
    for i, fault in enumerate(plan.drivers):
        yield from _driver_problems(f"drivers[{i}]", fault)
    yield from tables_problems(plan)
    yield from model_problems(plan)
    yield from tests_problems(plan)


def _file_problems(files: Sequence[FileEntry]) -> Iterator[PocketError]:
    for i, entry in enumerate(files):
        parts = PurePosixPath(entry.path).parts
        if not parts or ".." in parts or entry.path.startswith("/") or "\\" in entry.path:
            yield damaged(f"files[{i}].path", f"{entry.path!r} is no path inside the plan")
        yield from size_problems(f"files[{i}].bytes", entry.bytes)
        if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
            yield damaged(f"files[{i}].sha256", f"{entry.sha256!r:.40} is no checksum")


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


def _driver_problems(at: str, fault: DriverFault) -> Iterator[PocketError]:
    if not re.fullmatch(r"[A-Za-z_]\w*", fault.compiler):
        yield damaged(f"{at}.compiler", f"{fault.compiler!r:.40} is no name of a compiler")
    for key, version in (("from", fault.since), ("before", fault.before)):
        if version and not re.fullmatch(r"\d{1,6}(\.\d{1,6})*", version):
            yield damaged(f"{at}.{key}", f"{version!r:.40} is no version")
    for i, name in enumerate(fault.without):
        if name not in (*FEATURES, *BUILD_OPTIONS) and not re.fullmatch(r"[A-Za-z_]\w*", name):
            because = f"{name!r:.60} is no feature, kernel or option of a build"
            yield damaged(f"{at}.without[{i}]", because)
