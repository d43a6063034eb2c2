"""Builds: by CMake, on first use, and with sanitizers for the fuzz."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from talk import Start
from test_loader import check, fuzz
from toy import Toy

from toolkit.runner_build import SOURCES, build_runner

pytestmark = pytest.mark.slow
JOBS = str(os.cpu_count() or 1)
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all -O1 -g"


def cmake(build: Path, *options: str) -> Path:
    """Configure and build; the program."""
    if not shutil.which("cmake"):
        pytest.skip("no cmake")
    subprocess.run(["cmake", "-S", SOURCES, "-B", build, *options], check=True, capture_output=True)
    done = subprocess.run(["cmake", "--build", build, "-j", JOBS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return build / "pocketcl-runner"


def needed_libraries(program: Path) -> set[str]:
    """Shared libraries that the program itself asks for."""
    text = subprocess.run(["readelf", "-d", program], capture_output=True, text=True).stdout
    return {line.split("[")[1].rstrip("]") for line in text.splitlines() if "(NEEDED)" in line}


def test_cmake(tmp_path: Path) -> None:
    program = cmake(tmp_path)
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


def test_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = build_runner()
    assert program.parent.parent == tmp_path / "pocketcl"
    assert list(program.parent.iterdir()) == [program]
    changed = program.stat().st_mtime_ns
    assert build_runner() == program and program.stat().st_mtime_ns == changed
    monkeypatch.setenv("CXX", "c++ -DOTHER")
    monkeypatch.setattr("toolkit.runner_build._compile", lambda *_: None)
    assert build_runner() != program


def test_fuzz_and_a_run_with_sanitizers(toy: Toy, tmp_path: Path, start: Start) -> None:
    program = cmake(
        tmp_path / "build", f"-DCMAKE_CXX_FLAGS={SANITIZERS}", "-DCMAKE_BUILD_TYPE=None"
    )
    assert check(program, toy.folder)[0] == 0
    outcomes = fuzz(program, toy, 2000, seed=2)
    assert outcomes["ok"] and outcomes["error"]
    talk = start(toy.folder, program=program, ASAN_OPTIONS="detect_leaks=0")
    assert talk.next("prefill 0 1 2 3 4 5 6 7 8 9") == toy.next([1, 2, 3, 4, 5, 6, 7, 8, 9])
    first = toy.next([1, 2, 3])
    assert talk.decode(f"decode 3 {first} 9")[1] == "length"
    assert "unknown" in talk.error("x" * 5000)["what"]
    assert talk.end() == (0, "")
