"""Kernels are compiled in processes of their own, which leave what the runner would have left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from fatal_toy import Driver, builds, is_right
from patience import wait_for
from talk import Start
from toy import Toy

from toolkit.toolchain.opencl_loader import find_opencl


def test_children_leave_one_entry_each_and_equal_answers(
    fatal: Toy, driver: Driver, tmp_path: Path
) -> None:
    def entries() -> list[str]:
        return sorted(f.name for f in (tmp_path / "own").iterdir())

    talk = driver("none", "--child-builds", "on", FAKE_GPU="1")
    is_right(talk, fatal)
    assert (talk.ready["programs_built"], talk.ready["programs_cached"]) == (6, 0)
    talk.end()
    made = entries()
    assert sorted(name.split(".")[1] for name in made) == ["bin"] * 6 + ["ok"]
    again = driver("none", "--child-builds", "off")
    is_right(again, fatal)
    assert (again.ready["programs_built"], again.ready["programs_cached"]) == (0, 5)
    again.end()
    for file in (tmp_path / "own").iterdir():
        file.unlink()
    alone = driver("none", "--child-builds", "off", FAKE_GPU="1")
    is_right(alone, fatal)
    alone.end()
    assert entries() == made


def test_a_damaged_entry_is_built_by_a_child(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    driver("none", "--child-builds", "on").end()
    first, second = (  # of programs that every start loads
        file
        for file in (tmp_path / "own").glob("*.bin")
        if any(name in file.read_bytes() for name in (b"remember", b"recall"))
    )
    first.write_bytes(first.read_bytes()[:-9])
    second.write_bytes(b"")
    talk = driver("none", "--child-builds", "on")
    is_right(talk, fatal)
    assert (talk.ready["programs_built"], talk.ready["programs_cached"]) == (2, 3)


def test_killed_in_mid_build_leaves_nothing_half(
    fatal: Toy, driver: Driver, start: Start, fake_driver: Path, tmp_path: Path, log: Path,
    program: Path,
) -> None:  # fmt: skip
    own = tmp_path / "own"
    command = [program, fatal.folder, "--cache", own, "--cl-lib", fake_driver]
    env = os.environ | {"FAKE_DEATH": "hang", "FAKE_LOG": str(log), "FAKE_REAL": str(find_opencl())}
    child = subprocess.Popen(
        [*map(str, command), "--child-builds", "on"], env=env, stdout=subprocess.PIPE
    )
    try:
        wait_for(lambda: builds(log), "a build by a child")
        (own / "x.bin.half.999999999").write_text("half")  # as of a process that is dead
    finally:
        child.kill()
        child.communicate()
    wait_for(lambda: not _children_of(own), "its children go with it")
    is_right(driver("none", "--child-builds", "on"), fatal)
    names = {f.name for f in own.iterdir()}
    assert not any("half" in name or name.endswith(".bad") for name in names)


def _children_of(cache: Path) -> list[str]:
    """Processes with --build on this cache."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--build" in words and str(cache).encode() in words:
            found.append(process.parent.name)
    return found


def test_without_a_cache_programs_are_built_here(fatal: Toy, driver: Driver) -> None:
    talk = driver("none", "--child-builds", "on", "--cache", "")
    assert talk.next("prefill 0 3 1 4") == fatal.next([3, 1, 4])
    assert talk.end() == (0, "")
