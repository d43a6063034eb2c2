"""The runner for this machine: what it is built of, and what stands in the way."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from toolkit.errors import PocketError
from toolkit.toolchain import build as runner_build
from toolkit.toolchain.build import build_runner


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(PocketError) as error:
        build_runner()
    assert "--on host" in error.value.hint and "apt-get install g++" in error.value.hint


def test_with_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "sh -c 'echo no such flag >&2; exit 1'")
    with pytest.raises(PocketError) as error:
        build_runner()
    assert "no such flag" in error.value.because and "--on host" in error.value.hint
    assert not list(tmp_path.rglob("pocketcl-runner")) and not list(tmp_path.rglob("*.o"))


def test_without_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runner_build, "SOURCES", tmp_path)
    with pytest.raises(PocketError, match="sources are missing"):
        build_runner()


def test_sources_of_one_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In two folders; and headers are included by their path from the root."""
    sources = {
        "first/part.h": "int first();",
        "first/part.cpp": '#include "first/part.h"\nint first() { return 40; }',
        "second/part.h": "int second();",
        "second/part.cpp": '#include "second/part.h"\nint second() { return 2; }',
        "program/main.cpp": '#include "first/part.h"\n#include "second/part.h"\n'
        "int main() { return first() + second(); }",
        "bionic/compat.cpp": "#error for Android only",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(runner_build, "SOURCES", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program = build_runner()
    assert subprocess.run([program]).returncode == 42
    (tmp_path / "third").mkdir()  # what moves is no longer what was built
    (tmp_path / "second/part.h").rename(tmp_path / "third/part.h")
    with pytest.raises(PocketError, match="can't be built"):
        build_runner()
