"""Writing a plan: all of it or nothing, the same bytes each time."""

import dataclasses
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.errors import PocketError
from toolkit.plan.load import check_hashes, load_plan
from toolkit.plan.write import WeightSource, folder, shards

Usage = namedtuple("Usage", "total used free")


def contents(folder: Path) -> dict[str, bytes]:
    files = (f for f in folder.rglob("*") if f.is_file())
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


def floats(name: str, count: int, pieces: int = 1) -> WeightSource:
    values = np.arange(count, dtype=np.float32)
    return WeightSource(
        name, "f32", "plain", (count,), 4 * count, lambda: iter(np.array_split(values, pieces))
    )


def test_the_same_bytes_twice_and_nothing_else_left(write: Any, tmp_path: Path) -> None:
    for name in ("a.plan", "b.plan"):
        write(tmp_path / name)
    assert contents(tmp_path / "a.plan") == contents(tmp_path / "b.plan")
    assert sorted(os.listdir(tmp_path)) == ["a.plan", "b.plan"]


def test_files_are_listed_with_size_and_hash(write: Any, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    plan = write(tmp_path / "a.plan", copies={"tokenizer.json": tokenizer})
    found = contents(tmp_path / "a.plan")
    assert set(found) == {"plan.json"} | {f.path for f in plan.files}
    for entry in plan.files:
        assert entry.bytes == len(found[entry.path])
        assert entry.sha256 == hashlib.sha256(found[entry.path]).hexdigest()
    assert plan == load_plan(tmp_path / "a.plan")
    check_hashes(tmp_path / "a.plan", plan)


def test_weights_are_aligned_and_complete(write: Any, numpy_toy: Any, tmp_path: Path) -> None:
    plan = write(tmp_path / "a.plan")
    for weight, expected in zip(plan.weights, (numpy_toy.table, numpy_toy.head), strict=True):
        assert weight.offset % 16384 == 0
        file = tmp_path / "a.plan" / plan.files[weight.file].path
        found = np.fromfile(file, "<f4", weight.bytes // 4, offset=weight.offset)
        np.testing.assert_array_equal(found.reshape(weight.shape), expected)


def test_shards_are_bounded(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 65536)
    sources = [floats(f"w{i}", count, 3) for i, count in enumerate((5000, 9000, 16384, 1, 16383))]
    plan = write(tmp_path / "a.plan", sources=sources)
    placed = [(w.file, w.offset) for w in plan.weights]
    assert placed == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]
    assert all(f.bytes <= 65536 for f in plan.files)
    with pytest.raises(PocketError, match="weight big has 65540 bytes"):
        write(tmp_path / "b.plan", sources=[floats("big", 16385)])
    assert not (tmp_path / "b.plan").exists()


def test_small_weights_share_a_shard(write: Any, tmp_path: Path) -> None:
    plan = write(tmp_path / "a.plan", sources=[floats("a", 1), floats("b", 4097), floats("c", 1)])
    assert [(w.file, w.offset) for w in plan.weights] == [(0, 0), (0, 16384), (0, 49152)]
    assert plan.files[0].bytes == 65536


def test_progress_ends_at_the_total(write: Any, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    write(tmp_path / "a.plan", progress=lambda *facts: seen.append(facts))
    assert [name for name, _, _ in seen] == ["table", "head"]
    assert seen[-1][1] == seen[-1][2] == 2 * 4 * 23 * 8


# --- what is replaced --------------------------------------------------------------------------


def test_an_older_plan_is_replaced(write: Any, own_plan: Path) -> None:
    (own_plan / "kernels/toy.cl").write_text("edited")
    write(own_plan, texts={"kernels/toy.cl": "new"})
    assert (own_plan / "kernels/toy.cl").read_text() == "new"
    assert not (own_plan / "generation_config.json").exists()
    assert os.listdir(own_plan.parent) == ["toy.plan"]


def test_an_empty_folder_is_taken_and_parents_are_made(write: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    write(tmp_path / "deep/er/a.plan")
    for path in ("empty", "deep/er/a.plan"):
        load_plan(tmp_path / path)


@pytest.mark.parametrize("plan_json", [None, "{}", '{"generator": "another"}', "not json", "[]"])
def test_another_folder_is_left_alone(write: Any, tmp_path: Path, plan_json: str | None) -> None:
    target = tmp_path / "photos"
    target.mkdir()
    (target / "cat.jpg").write_text("cat")
    if plan_json is not None:
        (target / "plan.json").write_text(plan_json)
    before = contents(tmp_path)
    with pytest.raises(PocketError, match="exists and is not a plan"):
        write(target)
    assert contents(tmp_path) == before


def test_a_file_is_left_alone(write: Any, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("precious")
    with pytest.raises(PocketError, match="exists and is not a plan"):
        write(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "precious"


@pytest.mark.parametrize("inside", ["a.plan", "kernels/a.plan", "kernels", "new/deep/a.plan"])
def test_a_folder_inside_of_a_plan_is_refused(write: Any, own_plan: Path, inside: str) -> None:
    before = contents(own_plan)
    with pytest.raises(PocketError, match="lies inside of a plan") as caught:
        write(own_plan / inside)
    assert str(own_plan) in caught.value.because and "-o" in caught.value.hint
    assert contents(own_plan.parent) == {f"toy.plan/{k}": v for k, v in before.items()}
    assert not (own_plan / "new").exists()


def test_a_link_into_a_plan_is_refused(write: Any, own_plan: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(own_plan / "kernels")
    with pytest.raises(PocketError, match="lies inside of a plan"):
        write(tmp_path / "link" / "a.plan")


def test_a_link_to_a_plan_stays_a_link(write: Any, own_plan: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(own_plan)
    write(tmp_path / "link", texts={"kernels/toy.cl": "new"})
    assert (tmp_path / "link").is_symlink()
    assert (own_plan / "kernels/toy.cl").read_text() == "new"


# --- interruptions -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError, MemoryError])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_things_as_they_were(
    write: Any, tmp_path: Path, sources: list[WeightSource], fault: Any, existing: bool
) -> None:
    if existing:
        write(tmp_path / "a.plan")
    before = contents(tmp_path)

    def fail() -> Iterator[Any]:
        yield np.zeros(4, np.float32)
        raise fault

    sources[1] = dataclasses.replace(sources[1], produce=fail)
    with pytest.raises(fault):
        write(tmp_path / "a.plan", sources=sources)
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path) == (["a.plan"] if existing else [])


@pytest.mark.parametrize("at_once", [True, False])
def test_a_failed_rename_puts_the_old_plan_back(
    write: Any, own_plan: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """Where the file system can exchange two names at once, and where it can't."""
    before = contents(own_plan)
    rename, calls = Path.rename, list[Path]()

    def third_fails(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 3:
            raise PermissionError(errno.EACCES, "no", str(self))
        return rename(self, target)

    number = errno.EACCES if at_once else errno.ENOSYS
    monkeypatch.setattr("toolkit.exchange._renameat2", lambda *_: number)
    monkeypatch.setattr(Path, "rename", third_fails)
    with pytest.raises(PocketError, match="cannot write the plan"):
        write(own_plan)
    assert contents(own_plan.parent) == {f"toy.plan/{k}": v for k, v in before.items()}
    assert os.listdir(own_plan.parent) == ["toy.plan"]


def test_names_are_exchanged_one_after_the_other_where_it_must_be(
    write: Any, own_plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.exchange._renameat2", lambda *_: errno.EINVAL)
    write(own_plan, texts={"kernels/toy.cl": "new"})
    assert (own_plan / "kernels/toy.cl").read_text() == "new"
    assert os.listdir(own_plan.parent) == ["toy.plan"]


def test_at_no_moment_there_is_no_plan(write: Any, own_plan: Path) -> None:
    missing, over = list[bool](), threading.Event()

    def watch() -> None:
        while not over.is_set():
            missing.append(not own_plan.exists())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(20):
        write(own_plan)
    over.set()
    watcher.join()
    assert missing and not any(missing)


def test_a_weight_of_another_size_is_refused(
    write: Any, tmp_path: Path, sources: list[WeightSource]
) -> None:
    sources[0] = dataclasses.replace(sources[0], nbytes=sources[0].nbytes + 4)
    with pytest.raises(PocketError, match="weight table came as 736 bytes"):
        write(tmp_path / "a.plan", sources=sources)
    assert os.listdir(tmp_path) == []


def test_a_missing_file_to_copy(write: Any, tmp_path: Path) -> None:
    with pytest.raises(PocketError, match="cannot write the plan") as caught:
        write(tmp_path / "a.plan", copies={"tokenizer.json": tmp_path / "nothing"})
    assert "nothing" in caught.value.because
    assert os.listdir(tmp_path) == []


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import numpy as np, toy_plan
from pathlib import Path
from toolkit.plan.write import WeightSource
def die():
    yield np.zeros(4, np.float32)
    os.kill(os.getpid(), signal.SIGKILL)
toy_plan.write_toy(Path({out!r}), sources=[WeightSource("w", "f32", "plain", (8,), 32, die)])
"""


def test_leftovers_of_a_killed_compile_are_removed(write: Any, tmp_path: Path) -> None:
    code = KILLED.format(path=sys.path, out=str(tmp_path / "a.plan"))
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".a.plan.partial-")
    write(tmp_path / "a.plan")
    assert os.listdir(tmp_path) == ["a.plan"]


def test_a_compile_at_work_is_not_disturbed(
    write: Any, tmp_path: Path, sources: list[WeightSource]
) -> None:
    """Two compiles to one place at once: both succeed, the last one stays."""
    inner = sources[1].produce

    def with_another_compile() -> Iterator[Any]:
        write(tmp_path / "a.plan", texts={"kernels/toy.cl": "inner"})
        yield from inner()

    sources[1] = dataclasses.replace(sources[1], produce=with_another_compile)
    write(tmp_path / "a.plan", sources=sources)
    assert "argmax" in (tmp_path / "a.plan/kernels/toy.cl").read_text()
    assert os.listdir(tmp_path) == ["a.plan"]


# --- a full disk -------------------------------------------------------------------------------


def test_too_little_space_is_seen_before_writing(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**30, 2**30 - 2**10, 2**10))
    with pytest.raises(PocketError, match="no space for the plan") as caught:
        write(tmp_path / "a.plan", sources=[floats("big", 2**20)])
    assert caught.value.because == "it needs 4.0 MiB, 0.0 MiB are free"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_while_writing(
    write: Any, own_plan: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    before = contents(own_plan.parent)

    def full(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PocketError, match="no space for the plan"):
        write(own_plan)
    assert contents(own_plan.parent) == before


def test_a_small_file_system(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount here")
    try:
        monkeypatch.setattr(folder, "_check_space", lambda parent, needed: None)
        with pytest.raises(PocketError, match="no space for the plan") as caught:
            write(tmp_path / "a.plan", sources=[floats("big", 2**20)])
        assert caught.value.because == "it needs 4.0 MiB, 1.0 MiB are free"
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_place_that_may_not_be_written(write: Any) -> None:
    with pytest.raises(PocketError, match="cannot write the plan to /proc/nowhere"):
        write(Path("/proc/nowhere/a.plan"))
