"""Write a plan folder: all of it or nothing, the same bytes for the same input.

Weights are packed one after the other while they are written, so that a large model needs little
memory; every file is hashed on the way.
"""

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import PocketError
from toolkit.files import put_in_place, temporary_beside
from toolkit.paths import PLAN_FILE
from toolkit.plan.arena import round_up
from toolkit.plan.schema import PAGE, WEIGHT_ALIGN, FileEntry, Plan, Table, Weight
from toolkit.plan.text import to_json
from toolkit.plan.write.shards import (
    HashedFile,
    Progress,
    TableSource,
    WeightSource,
    laid_out,
    shard_count,
    tables_laid_out,
    write_shards,
    write_tables,
)


def write_plan(
    out: Path,
    plan: Plan,
    sources: Sequence[WeightSource],
    texts: Mapping[str, str],
    copies: Mapping[str, Path],
    progress: Progress | None = None,
    finish: Callable[[Plan, Path], Plan] | None = None,
    tables: Sequence[TableSource] = (),
) -> Plan:
    """Write `plan` (without weights and files) with its files to `out`; return it complete.

    Weight i of the plan is sources[i], table i is tables[i].
    `texts` and `copies`: path in the plan -> text or file.
    finish  adds what depends on the weights, given the plan and the folder where they lie
    """
    out = Path(os.path.realpath(out))  # pathlib's gives up on a loop of links
    check_target(out)
    weights = laid_out(sources)
    in_flash = tables_laid_out(tables, shard_count(weights))
    needed = _bytes_needed(weights, in_flash, texts, copies)
    with _explained(out, needed):
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(out) as folder:
            _check_space(out.parent, needed)
            shards = write_shards(folder, weights, sources, progress)
            shards += write_tables(folder, in_flash, tables, progress)
            others = [_write(folder, p, [t.encode()]) for p, t in sorted(texts.items())]
            others += [_write(folder, p, _pieces(c)) for p, c in sorted(copies.items())]
            files = (*shards, *others)
            complete = dataclasses.replace(
                plan, weights=tuple(weights), tables=tuple(in_flash), files=files
            )
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


# --- files -----------------------------------------------------------------------------------


def _write(folder: Path, path: str, pieces: Iterable[bytes]) -> FileEntry:
    with HashedFile(folder, path) as out:
        for piece in pieces:
            out.write(piece)
    return out.entry()


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(2**20):
            yield piece


# --- space and errors --------------------------------------------------------------------------


def _bytes_needed(
    weights: Sequence[Weight],
    tables: Sequence[Table],
    texts: Mapping[str, str],
    copies: Mapping[str, Path],
) -> int:
    padded = sum(round_up(w.bytes, WEIGHT_ALIGN) for w in weights)
    padded += sum(round_up(t.count * t.stride, PAGE) for t in tables)
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
