"""Write a plan folder: all of it or nothing, the same bytes for the same input.

Weights are packed one after the other while they are written, so that a large model needs little
memory; every file is hashed on the way.
"""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.files import put_in_place, temporary_beside
from toolkit.paths import PLAN_FILE
from toolkit.plan.arena import round_up
from toolkit.plan.schema import WEIGHT_ALIGN, FileEntry, Plan, Weight
from toolkit.plan.text import to_json

SHARD_BYTES = 256 * 2**20
Progress = Callable[[str, int, int], None]  # what is being written, bytes done, bytes in all


@dataclass(frozen=True)
class WeightSource:
    """A packed weight that is made when its turn comes; `produce` yields it in pieces, in order."""

    name: str
    dtype: str
    layout: str
    shape: tuple[int, ...]
    nbytes: int
    produce: Callable[[], Iterable[npt.NDArray[np.generic]]]


def write_plan(
    out: Path,
    plan: Plan,
    sources: Sequence[WeightSource],
    texts: Mapping[str, str],
    copies: Mapping[str, Path],
    progress: Progress | None = None,
    finish: Callable[[Plan, Path], Plan] | None = None,
) -> Plan:
    """Write `plan` (without weights and files) with its files to `out`; return it complete.

    Weight i of the plan is sources[i]. `texts` and `copies`: path in the plan -> text or file.
    finish  adds what depends on the weights, given the plan and the folder where they lie
    """
    out = Path(os.path.realpath(out))  # pathlib's gives up on a loop of links
    check_target(out)
    weights = laid_out(sources)
    needed = _bytes_needed(weights, texts, copies)
    with _explained(out, needed):
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(out) as folder:
            _check_space(out.parent, needed)
            shards = _write_shards(folder, weights, sources, progress)
            others = [_write(folder, p, [t.encode()]) for p, t in sorted(texts.items())]
            others += [_write(folder, p, _pieces(c)) for p, c in sorted(copies.items())]
            complete = dataclasses.replace(plan, weights=tuple(weights), files=(*shards, *others))
            complete = finish(complete, folder) if finish else complete
            _write(folder, PLAN_FILE, [to_json(complete).encode()])
            folder.chmod(0o755)  # until now only its maker's; a plan is an ordinary folder
            put_in_place(folder, out, check_target)  # again: packing took its time
    return complete


def check_out(out: Path) -> Path:
    """Raise unless a plan can be written to `out`: before the work of a compile, not after it."""
    check_target(Path(os.path.realpath(out)))
    above = _existing(Path(os.path.abspath(out)).parent)
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        because = f"{above} is {'not writable' if above.is_dir() else 'no folder'}"
        raise PocketError(f"cannot write the plan to {out}", because, "choose another -o")
    return out


# --- weights -----------------------------------------------------------------------------------


def laid_out(sources: Sequence[WeightSource]) -> list[Weight]:
    """File and offset of every weight: in order, aligned, no file above SHARD_BYTES."""
    weights, file, end = list[Weight](), 0, 0
    for s in sources:
        if s.nbytes > SHARD_BYTES:
            raise PocketError(
                f"weight {s.name} has {s.nbytes} bytes",
                f"a weights file holds at most {SHARD_BYTES}; larger tensors are split by rows",
            )
        offset = round_up(end, WEIGHT_ALIGN)
        if offset + s.nbytes > SHARD_BYTES:
            file, offset = file + 1, 0
        weights.append(Weight(s.name, s.dtype, s.layout, s.shape, file, offset, s.nbytes))
        end = offset + s.nbytes
    return weights


def _write_shards(
    folder: Path,
    weights: Sequence[Weight],
    sources: Sequence[WeightSource],
    progress: Progress | None,
) -> list[FileEntry]:
    shards, done, total = list[FileEntry](), 0, sum(w.bytes for w in weights)
    for number in sorted({w.file for w in weights}):
        with _HashedFile(folder, f"weights.{number}.bin") as out:
            for weight, source in zip(weights, sources, strict=True):
                if weight.file == number:
                    out.pad_to(weight.offset)
                    _write_weight(out, source)
                    done += weight.bytes
                    if progress:
                        progress(weight.name, done, total)
            out.pad_to(round_up(out.bytes, WEIGHT_ALIGN))  # whole pages: some drivers need them
        shards.append(out.entry())
    return shards


def _write_weight(out: "_HashedFile", source: WeightSource) -> None:
    start = out.bytes
    for piece in source.produce():
        little = piece.astype(piece.dtype.newbyteorder("<"), copy=False)
        out.write(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
    if out.bytes - start != source.nbytes:
        raise PocketError(
            f"weight {source.name} came as {out.bytes - start} bytes",
            f"{source.nbytes} were announced: a fault of the compiler",
        )


# --- files -------------------------------------------------------------------------------------


class _HashedFile:
    """A new file of the plan that is hashed while it is written and safe on disk when closed."""

    def __init__(self, folder: Path, path: str) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.bytes, self.sha = path, 0, hashlib.sha256()
        self.file = target.open("xb")

    def __enter__(self) -> "_HashedFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.file:
            if error is None:
                self.file.flush()
                os.fsync(self.file.fileno())

    def write(self, data: bytes | memoryview) -> None:
        self.file.write(data)
        self.sha.update(data)
        self.bytes += len(data)

    def pad_to(self, offset: int) -> None:
        self.write(bytes(offset - self.bytes))

    def entry(self) -> FileEntry:
        return FileEntry(self.path, self.bytes, self.sha.hexdigest())


def _write(folder: Path, path: str, pieces: Iterable[bytes]) -> FileEntry:
    with _HashedFile(folder, path) as out:
        for piece in pieces:
            out.write(piece)
    return out.entry()


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(2**20):
            yield piece


# --- space and errors --------------------------------------------------------------------------


def _bytes_needed(
    weights: Sequence[Weight], texts: Mapping[str, str], copies: Mapping[str, Path]
) -> int:
    padded = sum(round_up(w.bytes, WEIGHT_ALIGN) for w in weights)
    copied = sum(c.stat().st_size for c in copies.values() if c.exists())
    return padded + sum(len(t) for t in texts.values()) + copied


def _check_space(parent: Path, needed: int) -> None:
    if shutil.disk_usage(parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _explained(out: Path, needed: int) -> Iterator[None]:
    """Turn the file system's refusals into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise PocketError(
                f"cannot write the plan to {out}", f"{error}", "choose another -o"
            ) from error
        free = shutil.disk_usage(_existing(out)).free
        raise PocketError(
            f"no space for the plan in {out.parent}",
            f"it needs {needed / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free",
            "free some space, or choose a -o on another disk",
        ) from error


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def check_target(out: Path) -> None:
    """Raise unless a plan may be written to `out`: it is free, an empty folder or an older plan."""
    out = Path(os.path.realpath(out))
    if plan := next(filter(_is_plan_folder, out.parents), None):
        raise PocketError(
            f"{out} lies inside of a plan",
            f"{plan} is one, and a compile replaces a plan with all that is in it",
            "choose another -o, beside it",
        )
    if out.is_dir() and (not any(out.iterdir()) or _is_plan_folder(out)):
        return
    if out.exists():
        raise PocketError(
            f"{out} exists and is not a plan",
            "a compile replaces only a plan folder of PocketCL",
            "choose another -o, or remove it first",
        )


def _is_plan_folder(folder: Path) -> bool:
    try:
        body = json.loads((folder / PLAN_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(body, dict) and str(body.get("generator", "")).startswith("pocketcl")
