"""A text and the KV cache that belongs to it, in a file: a prefix that need not be fed again.

    {"pocketcl_state": 1, "model": "…", "plan": "…", "past": P, "reached": R, "states": ["…"],
     "note": {…}}
    ids      int32 [P]
    states   in the order of the plan; of those that are appended to the first min(P, C) of the C
             tokens along their axis, of others everything
    sha256   of all above, 64 hexadecimal digits and a line break

The first line is JSON (broken here to fit). "model" is the sha256 of the model, "plan" the digest
of plan.json: the file is for that plan only. "reached" says how far rings were filled (see History
of toolkit/executors). "note" is what the caller wants to find again. All numbers are little-endian.
The runner reads and writes the same files (android_runner/session/state_save.cpp, state_load.cpp).
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.files import replacing
from toolkit.plan.origin import noted
from toolkit.plan.schema import DTYPE_BYTES, Plan, State

VERSION = 1
SEAL = 65  # bytes: the checksum in hexadecimal, a line break
LONGEST_HEADER = 16 * 2**20
PIECE = 2**20
SAVE_AGAIN = "save it again: pocketcl run PLAN --prompt TEXT --save-state FILE"


@dataclass(frozen=True)
class SavedRows:
    """What goes into the file of a state: the first `bytes` of each of its blocks."""

    buffer: int
    name: str
    blocks: int
    stride: int
    bytes: int

    def offsets(self) -> range:
        """Where the blocks begin in the buffer."""
        return range(0, self.blocks * self.stride, self.stride)


@dataclass(frozen=True)
class Saved:
    """A file that was found whole and fitting; `pieces` yields (buffer, offset, bytes)."""

    past: int
    reached: int
    ids: list[int]
    note: dict[str, Any]
    pieces: Callable[[], Iterator[tuple[int, int, bytes]]]


def saved_rows(plan: Plan, past: int) -> list[SavedRows]:
    """What a text of `past` ids uses of each state."""
    return [_rows_of(plan, state, past) for state in plan.states]


def save(
    path: Path,
    plan: Plan,
    digest: str,
    ids: Sequence[int],
    reached: int,
    note: Mapping[str, Any],
    read: Callable[[int, int, int], bytes],
) -> None:
    """Write a file, whole or not at all. `read`(buffer, offset, bytes) looks into a state."""
    if not ids:
        raise PocketError(f"there is nothing to save in {path}", "no text was fed", "run first")
    parts = saved_rows(plan, len(ids))

    def content() -> Iterator[bytes]:
        yield header(plan, digest, len(ids), reached, note)
        yield np.array(ids, "<i4").tobytes()
        for part in parts:
            for offset in part.offsets():
                yield read(part.buffer, offset, part.bytes)

    try:
        _write(Path(path), content())
    except OSError as error:
        hint = "check the folder and the free space"
        raise PocketError(f"{path} can't be written", error, hint) from None


def load(path: Path, plan: Plan, digest: str) -> Saved:
    """Check a file against the plan; nothing of it is used unless all of it is right."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            first = _first_line(path, file)
            _check_seal(path, file)
            facts = _facts(path, first)
            past = _check_fits(path, plan, digest, facts)
            start = len(first)
            ids = _ids(path, plan, file, start, past)
    except OSError as error:
        raise PocketError(f"{path} can't be read", error, "check the path") from None

    def pieces() -> Iterator[tuple[int, int, bytes]]:
        with path.open("rb") as file:
            file.seek(start + 4 * past)
            for part in saved_rows(plan, past):
                for offset in part.offsets():
                    yield part.buffer, offset, _exactly(path, file, part.bytes)

    return Saved(past, int(facts["reached"]), ids, dict(facts["note"]), pieces)


def read_note(path: Path) -> dict[str, Any]:
    """The caller's note in a file that was loaded."""
    with Path(path).open("rb") as file:
        return dict(_facts(Path(path), _first_line(Path(path), file))["note"])


def read_ids(path: Path) -> list[int]:
    """The text of a file that was loaded."""
    with Path(path).open("rb") as file:
        past = _facts(Path(path), _first_line(Path(path), file))["past"]
        return [int(i) for i in np.frombuffer(_exactly(Path(path), file, 4 * past), "<i4")]


def header(plan: Plan, digest: str, past: int, reached: int, note: Mapping[str, Any]) -> bytes:
    """The first line."""
    facts = {
        "pocketcl_state": VERSION,
        "model": noted(plan, "sha256"),
        "plan": digest,
        "past": past,
    }
    names = [part.name for part in saved_rows(plan, past)]
    facts |= {"reached": reached, "states": names, "note": dict(note)}
    return json.dumps(facts).encode() + b"\n"


def _rows_of(plan: Plan, state: State, past: int) -> SavedRows:
    buffer = plan.buffers[state.buffer]
    size, shape = DTYPE_BYTES[buffer.dtype], [int(dim) for dim in buffer.shape]
    if state.update != "append" or state.axis is None or state.capacity is None:
        nbytes = size * math.prod(shape)
        return SavedRows(state.buffer, buffer.name, 1, nbytes, nbytes)
    blocks, width = math.prod(shape[: state.axis]), size * math.prod(shape[state.axis + 1 :])
    used = min(past, state.capacity) * width
    return SavedRows(state.buffer, buffer.name, blocks, state.capacity * width, used)


# --- reading -----------------------------------------------------------------------------------


def _first_line(path: Path, file: BinaryIO) -> bytes:
    line = file.readline(LONGEST_HEADER)
    if not line.startswith(b'{"pocketcl_state": '):
        because = "it does not begin as one"
        raise PocketError(f"{path} is not a state file", because, SAVE_AGAIN)
    if not line.endswith(b"\n"):
        raise _damaged(path, "its first line does not end")
    return line


def _check_seal(path: Path, file: BinaryIO) -> None:
    """The checksum of everything before it: a file that was cut short or changed has another."""
    end = file.seek(0, os.SEEK_END) - SEAL
    file.seek(0)
    sha, left = hashlib.sha256(), end
    while left > 0 and (piece := file.read(min(PIECE, left))):
        sha.update(piece)
        left -= len(piece)
    if end < 0 or file.read() != sha.hexdigest().encode() + b"\n":
        raise _damaged(path, "its checksum is wrong: it was cut short or changed")


def _facts(path: Path, line: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its first line is no JSON: {error}") from None
    if facts["pocketcl_state"] != VERSION:
        because = f"it has version {facts['pocketcl_state']}, this PocketCL reads {VERSION}"
        raise PocketError(f"{path} is of another version", because, SAVE_AGAIN)
    kinds = {"model": str, "plan": str, "past": int, "reached": int, "states": list, "note": dict}
    for key, kind in kinds.items():
        if type(facts.get(key)) is not kind:
            raise _damaged(path, f"its first line lacks a good '{key}'")
    return dict(facts)


def _check_fits(path: Path, plan: Plan, digest: str, facts: Mapping[str, Any]) -> int:
    past, context = int(facts["past"]), int(plan.model["max_context"])
    ours = noted(plan, "sha256")
    if facts["model"] != ours:
        because = f"the model's sha256 is {facts['model'][:12]}… there, {ours[:12]}… here"
        raise PocketError(f"{path} belongs to another model", because, "take the plan it is from")
    if past > context:
        because = f"its text has {past} tokens, the plan was compiled for {context}"
        hint = f"compile with --max-context {past} or more"
        raise PocketError(f"the text of {path} does not fit", because, hint)
    if facts["plan"] != digest:
        because = "the model is the same, but the plan was compiled with other options or edited"
        raise PocketError(f"{path} belongs to another plan", because, SAVE_AGAIN)
    names = [part.name for part in saved_rows(plan, past)]
    if past < 1 or facts["reached"] < past or facts["states"] != names:
        raise _damaged(path, "its first line contradicts the plan")
    return past


def _ids(path: Path, plan: Plan, file: BinaryIO, start: int, past: int) -> list[int]:
    size = file.seek(0, os.SEEK_END)
    expected = 4 * past + sum(part.blocks * part.bytes for part in saved_rows(plan, past))
    if size != start + expected + SEAL:
        raise _damaged(path, f"it has {size} bytes instead of {start + expected + SEAL}")
    file.seek(start)
    ids: npt.NDArray[Any] = np.frombuffer(_exactly(path, file, 4 * past), "<i4")
    if ids.min() < 0 or ids.max() >= int(plan.model["vocab_size"]):
        raise _damaged(path, "its text has ids that the model has not")
    return [int(i) for i in ids]


def _exactly(path: Path, file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise _damaged(path, "it ends too early")
    return content


def _damaged(path: Path, because: str) -> PocketError:
    return PocketError(f"{path} is damaged", because, SAVE_AGAIN)


# --- writing -----------------------------------------------------------------------------------


def _write(path: Path, content: Iterable[bytes]) -> None:
    sha = hashlib.sha256()
    with replacing(path) as file:
        for piece in content:
            sha.update(piece)
            file.write(piece)
        file.write(sha.hexdigest().encode() + b"\n")
