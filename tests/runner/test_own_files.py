"""Caches that hold code: made for their owner only, and used only where nobody else can write."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from native import DRIVERS, build
from strangers import as_root, folder, of_stranger
from talk import Start
from toy import Toy

from toolkit.own_files import make_own_folder, weakness


def link(path: Path, target: Path | str) -> Path:
    path.symlink_to(target)
    return path


Make = Callable[[Path], Path]
CASES: dict[str, tuple[Make, str]] = {
    "private": (lambda at: folder(at / "c"), ""),
    "as older versions made it": (lambda at: folder(at / "c", 0o755), ""),
    "missing": (lambda at: at / "new" / "c", ""),
    "for all": (lambda at: folder(at / "c", 0o777), "others can write to {}/c"),
    "for a group": (lambda at: folder(at / "c", 0o775), "others can write to {}/c"),
    "for all, sticky": (lambda at: folder(at / "c", 0o1777), "others can write to {}/c"),
    "a stranger's": (lambda at: of_stranger(folder(at / "c")), "user 65534 owns {}/c"),
    "below all's": (lambda at: folder(folder(at / "p", 0o777) / "c"), "others can write to {}/p"),
    "below all's, sticky": (lambda at: folder(folder(at / "p", 0o1777) / "c"), ""),
    "below a group's": (lambda at: folder(folder(at / "p", 0o775) / "c"), ""),
    "below a stranger's": (
        lambda at: folder(of_stranger(folder(at / "p")) / "c"),
        "user 65534 owns {}/p",
    ),
    "missing below all's": (lambda at: folder(at / "p", 0o777) / "c", "others can write to {}/p"),
    "a link": (lambda at: link(at / "l", folder(at / "c")), ""),
    "a relative link": (lambda at: link(at / "l", folder(at / "c").name), ""),
    "below a link": (lambda at: folder(link(at / "l", folder(at / "p")) / "c"), ""),
    "a stranger's link": (
        lambda at: of_stranger(link(at / "l", folder(at / "c"))),
        "user 65534 owns {}/l",
    ),
    "a link to all's": (
        lambda at: link(at / "l", folder(at / "c", 0o777)),
        "others can write to {}/c",
    ),
    "a link through all's": (
        lambda at: link(at / "l", link(folder(at / "p", 0o777) / "m", folder(at / "c"))),
        "others can write to {}/p",
    ),
    "a way back": (lambda at: folder(folder(at / "p") / "c") / ".." / "c", ""),
    "an endless link": (lambda at: link(at / "l", at / "l"), "{}/l is a link without an end"),
}


@pytest.fixture(scope="module")
def null_device() -> Path:
    return build("libnull_opencl.so", [DRIVERS / "null_opencl.c"], "-shared")


@as_root
@pytest.mark.parametrize("name", CASES)
def test_both_find_the_same(
    toy: Toy, start: Start, null_device: Path, tmp_path: Path, name: str
) -> None:
    make, why = CASES[name]
    path, expected = make(tmp_path), why.format(tmp_path)
    assert weakness(path) == expected
    talk = start(toy.folder, "--cl-lib", str(null_device), "--cache", str(path))
    code, errors = talk.end()
    assert code == 0 and (expected in errors if expected else errors == "")
    kept = path.exists() and any(path.glob("*.bin"))
    assert kept == (expected == "") and errors.count("\n") == bool(expected)
    if expected:
        assert f"note: {path} is not used for compiled programs, because " in errors
        assert "remove it, or choose a folder that only you can write to" in errors


def modes(path: Path) -> set[int]:
    """What others may do with any of it."""
    return {stat.S_IMODE(f.lstat().st_mode) & 0o077 for f in (path, *path.rglob("*"))}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_runners_cache_is_its_owners_whatever_the_umask(
    toy: Toy, program: Path, null_device: Path, tmp_path: Path, umask: int
) -> None:
    cache = tmp_path / "new" / "programs"
    command = [program, toy.folder, "--cl-lib", null_device, "--cache", cache]
    for built in (5, 0):
        done = subprocess.run(
            command, input="", capture_output=True, text=True, umask=umask, check=True
        )
        assert f'"programs_built": {built}' in done.stdout and done.stderr == ""
    assert len(list(cache.glob("*.bin"))) == 5 and modes(tmp_path / "new") == {0}


@as_root
@pytest.mark.parametrize("harm", ["stranger", "writable", "link", "group"])
def test_a_binary_of_others_is_not_used(
    toy: Toy, start: Start, null_device: Path, tmp_path: Path, harm: str
) -> None:
    """It is built again, and takes its place."""

    def built() -> tuple[int, str]:
        talk = start(toy.folder, "--cl-lib", str(null_device), "--cache", str(tmp_path / "own"))
        return talk.ready["programs_built"], talk.end()[1]

    assert built() == (5, "")
    for file in sorted((tmp_path / "own").glob("*.bin"))[:2]:
        if harm == "stranger":
            of_stranger(file)
        elif harm == "link":
            file.rename(tmp_path / file.name)
            file.symlink_to(tmp_path / file.name)
        else:
            file.chmod(0o602 if harm == "writable" else 0o620)
    count, errors = built()
    words = {"stranger": "user 65534 owns ", "link": "", "writable": "others can write to "}
    assert count == 2 and words.get(harm, words["writable"]) in errors
    assert errors.count("note: ") == (harm != "link")  # one line for all
    assert built() == (0, "") and modes(tmp_path / "own") == {0}


@as_root
def test_what_others_say_of_a_driver_is_not_believed(
    toy: Toy, start: Start, null_device: Path, tmp_path: Path
) -> None:
    options = ("--cl-lib", str(null_device), "--cache", str(tmp_path / "own"))
    options += ("--child-builds", "on")
    start(toy.folder, *options).end()
    for file in (tmp_path / "own").glob("*.bin"):
        of_stranger(file).unlink()
        file.with_suffix(".bad").write_text("was killed by SIGSEGV\n")
        of_stranger(file.with_suffix(".bad"))
    assert start(toy.folder, *options).ready["programs_built"] == 5


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_folders_are_their_owners(tmp_path: Path, umask: int) -> None:
    code = (
        "import sys, pathlib, toolkit.own_files as o; o.make_own_folder(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a/b/c"], umask=umask, check=True)
    for path in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o700
    (tmp_path / "a").chmod(0o755)
    make_own_folder(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
