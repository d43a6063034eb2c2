"""Without `ld`: the answer comes before any work, and names it; what is compiled already runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from native import DRIVERS, build
from talk import Start, failure
from toy import Toy

from toolkit.cli import cli
from toolkit.cli import demo as demo_module
from toolkit.errors import PocketError
from toolkit.executors.open import open_executor
from toolkit.toolchain import build as runner_build
from toolkit.toolchain.build import build_runner
from toolkit.toolchain.linker import check_linker, find_linker

WITHOUT = ["missing", "unset", "empty"]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for the PATH with a compiler, and without a linker."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("c++", "as", "sh"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


@pytest.fixture(params=WITHOUT)
def no_linker(request: pytest.FixtureRequest, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "unset":
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", str(tools) if request.param == "missing" else "")


def is_told(error: PocketError) -> None:
    assert error.what == "PoCL cannot build kernels here"
    assert "`ld`" in error.because and "binutils" in error.hint


def test_only_pocl_needs_it(no_linker: None) -> None:
    assert find_linker() is None
    check_linker("Intel(R) OpenCL")
    with pytest.raises(PocketError) as error:
        check_linker("Portable Computing Language")
    is_told(error.value)


def test_the_host_says_so(toy: Toy, no_linker: None) -> None:
    with pytest.raises(PocketError) as error:
        open_executor(toy.folder, "host")
    is_told(error.value)


def test_the_demo_says_so_before_it_compiles(
    no_linker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiles(*_: Any, **__: Any) -> None:
        raise AssertionError("it compiles")

    monkeypatch.setattr(demo_module, "compile_model", compiles)
    result = CliRunner().invoke(cli, ["demo"])
    assert result.exit_code == 1 and "`ld`" in result.output and "binutils" in result.output


def test_kernels_are_not_timed(no_linker: None) -> None:
    result = CliRunner().invoke(cli, ["bench", "--kernels"])
    assert result.exit_code == 1 and "`ld`" in result.output


@pytest.mark.parametrize("children", ["on", "off"])
@pytest.mark.parametrize("without", WITHOUT)
def test_the_runner_says_so_before_it_builds(
    toy: Toy, program: Path, tools: Path, tmp_path: Path, without: str, children: str
) -> None:
    """No child is started that would abort; and what is built already runs without."""
    path = {"missing": {"PATH": str(tools)}, "unset": {}, "empty": {"PATH": ""}}[without]
    env = {name: value for name, value in os.environ.items() if name != "PATH"} | path
    options = ["--child-builds", children, "--cache", str(tmp_path / "own")]
    words = [str(program), str(toy.folder), *options]
    told = "prefill 0 3 1 4\nquit\n"
    done = subprocess.run(words, env=env, input=told, capture_output=True, text=True)
    facts = failure(done.stdout.strip())
    is_told(PocketError(facts["what"], facts["because"], facts["hint"]))
    assert (done.returncode, done.stderr) == (1, "") and not list((tmp_path / "own").iterdir())
    for each in (os.environ, env):
        done = subprocess.run(words, env=each, input=told, capture_output=True, text=True)
        assert f"\nok {toy.next([3, 1, 4])} " in done.stdout, done


def test_other_platforms_build_without(toy: Toy, start: Start, tools: Path) -> None:
    null = build("libnull_opencl.so", [DRIVERS / "null_opencl.c"], "-shared")
    talk = start(toy.folder, "--cl-lib", str(null), "--cache", "", PATH=str(tools))
    assert talk.ready["programs_built"] == 5


def test_the_runner_is_not_compiled_for_minutes_first(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least program is linked before all the others are compiled."""
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    commands: list[tuple[str, ...]] = []
    run = runner_build._run

    def noted(toolchain: Any, environment: Any, command: tuple[str, ...]) -> None:
        commands.append(command)
        run(toolchain, environment, command)

    monkeypatch.setattr(runner_build, "_run", noted)
    with pytest.raises(PocketError) as error:
        build_runner()
    assert "ld" in error.value.because and "binutils" in error.value.hint
    assert len(commands) == 2 and not list((tmp_path / "home").rglob("*.o"))


def test_neither_compiler_nor_linker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(PocketError, match="can't be built") as error:
        build_runner()
    assert "`ld`" in error.value.because and "PATH" in error.value.because


def test_an_empty_environment(toy: Toy) -> None:
    """`env -i`: shutil.which would look into folders that PoCL doesn't know."""
    words = [sys.executable, "-m", "toolkit", "run", str(toy.folder), "--ids", "1"]
    env = {"HOME": os.environ.get("HOME", "/"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*words, "--on", "host"], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "`ld`" in done.stderr and "Traceback" not in done.stderr
