"""Builds: by CMake, as a program and inside of an app, and on first use."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from needed import absent
from toy import Toy

from toolkit.paths import cache_dir
from toolkit.toolchain.build import SOURCES, build_runner
from toolkit.toolchain.opencl_loader import runner_environment

pytestmark = pytest.mark.slow
JOBS = str(os.cpu_count() or 1)
APP = """
cmake_minimum_required(VERSION 3.16)
project(app C CXX)
add_subdirectory(@SOURCES@ pocketcl EXCLUDE_FROM_ALL)
add_executable(app @SOURCES@/examples/generate.c)
target_link_libraries(app PRIVATE pocketcl)
"""


def cmake(build: Path, *options: str, source: Path = SOURCES) -> Path:
    """Configure and build; the program."""
    if not shutil.which("cmake"):
        absent("CMake is not installed")
    # .ci/run builds file by file, and for release.
    quick = ("-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0")
    command = ["cmake", "-S", source, "-B", build, *quick, *options]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run(["cmake", "--build", build, "-j", JOBS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return build / "pocketcl-runner"


def needed_libraries(program: Path) -> set[str]:
    """Shared libraries that the program itself asks for."""
    text = subprocess.run(["readelf", "-d", program], capture_output=True, text=True).stdout
    return {line.split("[")[1].rstrip("]") for line in text.splitlines() if "(NEEDED)" in line}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder, with the library as a shared one; .ci/run builds without options."""
    return cmake(tmp_path_factory.mktemp("build"), "-DBUILD_SHARED_LIBS=ON").parent


def test_cmake(built: Path) -> None:
    program = built / "pocketcl-runner"
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("pocketcl-runner")
    names = {name.split(".")[0] for name in needed_libraries(program)}
    assert names <= {
        "libc",
        "libm",
        "libdl",
        "libpthread",
        "libgcc_s",
        "libstdc++",
        "ld-linux-x86-64",
    }


def test_inside_of_an_app(toy: Toy, cache: Path, tmp_path: Path) -> None:
    """By add_subdirectory, and what is installed."""
    (tmp_path / "CMakeLists.txt").write_text(APP.replace("@SOURCES@", str(SOURCES)))
    app = cmake(tmp_path / "build", source=tmp_path).with_name("app")
    assert not (tmp_path / "build" / "pocketcl" / "pocketcl-runner").exists()
    env = runner_environment() | {"POCKETCL_CACHE": str(cache)}
    command = [str(app), str(toy.folder), "1", "3", "1", "4"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stdout == f"{toy.next([3, 1, 4])}\n", done.stderr


def test_installed(built: Path, tmp_path: Path) -> None:
    target = tmp_path / "to"
    command = ["cmake", "--install", str(built), "--prefix", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    names = {str(f.relative_to(target)) for f in target.rglob("*") if f.is_file()}
    assert {"bin/pocketcl-runner", "include/pocketcl.h", "lib/libpocketcl.so"} <= names
    assert needed_libraries(target / "lib" / "libpocketcl.so")


def test_first_use(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was built serves again, for this compiler only, and nothing else lies beside it."""
    assert program.parent.parent == cache_dir()
    assert list(program.parent.iterdir()) == [program]
    changed = program.stat().st_mtime_ns
    assert build_runner() == program and program.stat().st_mtime_ns == changed
    monkeypatch.setenv("CXX", "c++ -DOTHER")
    monkeypatch.setattr("toolkit.toolchain.build._make", lambda *_: None)
    assert build_runner() != program
