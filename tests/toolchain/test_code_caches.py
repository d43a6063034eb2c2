"""The runner's program is made for its owner only, and none is run that others had a hand in."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from strangers import as_root, folder, of_stranger

from toolkit.cli.doctor import _cache as doctors_check
from toolkit.errors import PocketError
from toolkit.files import fill_once
from toolkit.paths import cache_dir
from toolkit.toolchain import opencl_loader
from toolkit.toolchain.build import build_runner
from toolkit.toolchain.opencl_loader import runner_environment

# Stands for c++: it makes files that all may write to, if the umask lets it.
COMPILER = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
echo '#!/bin/sh' > "$2" && echo 'echo ours' >> "$2" && chmod 777 "$2"
"""
EVIL = "#!/bin/sh\necho evil\n"


@pytest.fixture(params=[0o000, 0o022])
def home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An own $XDG_CACHE_HOME that is missing yet, a compiler that takes no time, and a umask."""
    compiler = tmp_path / "c++"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder(tmp_path / "tmp", 0o1777)))
    before = os.umask(request.param)
    yield tmp_path / "home" / "cache"
    os.umask(before)


def others_may(path: Path) -> set[int]:
    return {stat.S_IMODE(f.lstat().st_mode) & 0o077 for f in (path, *path.rglob("*"))}


def run(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


def test_made_for_its_owner_only(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = build_runner()
    assert run(program) == "ours\n" and program.is_relative_to(home / "pocketcl")
    assert others_may(home.parent) == {0} and capsys.readouterr().err == ""
    changed = program.stat().st_mtime_ns
    assert build_runner() == program and program.stat().st_mtime_ns == changed


def test_as_older_versions_made_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = build_runner()
    for path in (home / "pocketcl", program.parent, program):
        path.chmod(0o755)
    changed = program.stat().st_mtime_ns
    assert build_runner() == program and program.stat().st_mtime_ns == changed
    assert capsys.readouterr().err == ""


def planted(home: Path) -> Path:
    """The cache with a runner that is not ours at the place of ours."""
    os.environ["XDG_CACHE_HOME"] = str(home)
    program = build_runner()
    program.write_text(EVIL)
    return program


HARM: dict[str, Callable[[Path], object]] = {
    "the program is a stranger's": of_stranger,
    "all may write to the program": lambda program: program.chmod(0o777),
    "a group may": lambda program: program.chmod(0o770),
    "the program is a link": lambda program: (
        program.rename(program.parent.parent / "other"),
        program.symlink_to(program.parent.parent / "other"),
    ),
    "the folder is a stranger's": lambda program: of_stranger(program.parent),
    "all may write to the folder": lambda program: program.parent.chmod(0o777),
}
HARM_TO_THE_CACHE: dict[str, Callable[[Path], object]] = {
    "it is a stranger's": of_stranger,
    "all may write to it": lambda cache: cache.chmod(0o777),
    "a group may": lambda cache: cache.chmod(0o775),
    "all may write above it": lambda cache: cache.parent.chmod(0o777),
    "a stranger owns what is above": lambda cache: of_stranger(cache.parent),
}


@as_root
@pytest.mark.parametrize("harm", HARM)
def test_a_program_of_others_is_not_run(
    home: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is set aside, and made again."""
    program = planted(home)
    HARM[harm](program)
    assert build_runner() == program and run(program) == "ours\n"
    assert others_may(program.parent) == {0}
    (line,) = capsys.readouterr().err.splitlines()
    (aside,) = program.parent.parent.glob("runner-*.unsafe-*")
    assert line.startswith(f"note: {aside} is not used, because ") and str(program.parent) in line
    assert "it is made again" in line and "remove it" in line
    assert build_runner() == program and capsys.readouterr().err == ""


@as_root
@pytest.mark.parametrize("harm", HARM_TO_THE_CACHE)
def test_a_cache_of_others_is_not_used(
    home: Path, tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the user's own in the folder for temporary files is used instead."""
    evil = folder(folder(home.parent) / "evil") / "pocketcl"
    program = planted(evil.parent)
    HARM_TO_THE_CACHE[harm](evil)
    cache_dir.__globals__["_safe"].cache_clear()
    ours = build_runner()
    other = tmp_path / "tmp" / f"pocketcl-{os.geteuid()}"
    assert ours == other / program.relative_to(evil) and run(ours) == "ours\n"
    assert others_may(other) == {0} and program.read_text() == EVIL
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {evil} is not used, because ")
    assert f"{other} is used instead" in line and "XDG_CACHE_HOME" in line
    assert build_runner() == ours and cache_dir() == other and capsys.readouterr().err == ""
    check = doctors_check()
    assert not check.ok and "is not used" in check.detail and "remove it" in check.remedy


@as_root
def test_a_stranger_was_there_before(home: Path, tmp_path: Path) -> None:
    """Then the folder is one that this process alone knows."""
    of_stranger(folder(tmp_path / "tmp" / f"pocketcl-{os.geteuid()}"))
    folder(folder(home.parent) / home.name, 0o777)
    found = cache_dir()
    assert found.parent == tmp_path / "tmp" and found.name.startswith("pocketcl-")
    assert others_may(found) == {0} and run(build_runner()) == "ours\n"


def test_drivers_are_named_by_their_owner_only(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An .icd file names a library that is loaded."""
    (tmp_path / "wheel.icd").write_text("libwheel.so\n")
    monkeypatch.setattr(opencl_loader, "_bundled", lambda _: [tmp_path / "wheel.icd"])
    monkeypatch.setattr(opencl_loader, "_system_drivers", lambda: False)
    vendors = Path(runner_environment()["OCL_ICD_VENDORS"])
    assert (vendors / "wheel.icd").read_text() == f"{tmp_path}/libwheel.so\n"
    assert others_may(home.parent) == {0}
    (vendors / "wheel.icd").chmod(0o666)
    (vendors / "wheel.icd").write_text("/evil.so\n")
    assert Path(runner_environment()["OCL_ICD_VENDORS"]) == vendors
    assert (vendors / "wheel.icd").read_text() == f"{tmp_path}/libwheel.so\n"


def test_no_code_is_made_where_others_can_change_it(tmp_path: Path) -> None:
    with pytest.raises(PocketError, match="can't be used") as error:
        fill_once(folder(tmp_path / "all's", 0o777) / "it", lambda _: None)
    assert "others can write to" in error.value.because and error.value.hint
    assert not list((tmp_path / "all's").iterdir())


def test_of_several_that_want_it_one_makes_it(tmp_path: Path) -> None:
    made = []

    def fill(inner: Path) -> None:
        made.append(inner)
        (inner / "a").write_text("whole")

    for _ in range(3):
        fill_once(tmp_path / "new" / "deep" / "it", fill)
    assert len(made) == 1 and (tmp_path / "new/deep/it/a").read_text() == "whole"
    assert others_may(tmp_path / "new") == {0}


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("mine")
    with pytest.raises(PocketError, match="is no folder") as error:
        fill_once(tmp_path / "it", lambda _: None)
    assert error.value.hint == "remove it" and (tmp_path / "it").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
