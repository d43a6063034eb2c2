"""A hostile or broken environment: one clear error, no traceback, nothing half-written."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import PocketError, format_error
from toolkit.generation.tokenizer import load_tokenizer, parse_ids
from toolkit.toolchain.build import build_runner
from toolkit.toolchain.opencl_loader import find_opencl

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"


def start(*args: Any, **env: str) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "toolkit", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
        cwd=DEMO.parents[1],
    )


@pytest.mark.parametrize("seconds", [0.3, 0.9, 1.3])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_compile_leaves_all_or_nothing(
    tmp_path: Path, how: signal.Signals, seconds: float
) -> None:
    out = tmp_path / "x.plan"
    process = start("compile", DEMO, "-o", out, "--device", "pocl")
    time.sleep(seconds)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert not out.exists() or (out / "plan.json").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"x.plan"} or how != signal.SIGINT


def test_control_characters_do_not_reach_the_terminal() -> None:
    error = PocketError("a\x1b[2Jb", "é\x0b\u202e", "two\nlines")
    assert format_error(error).splitlines() == [
        "Error: a\\x1b[2Jb",
        "  because: é\\x0b\\u202e",
        "  try:     two",
        "           lines",
    ]


def test_a_prompt_that_is_no_text() -> None:
    text = load_tokenizer(DEMO)
    assert text
    with pytest.raises(PocketError, match="UTF-8"):
        text.encode("abc \udcff")


@pytest.mark.parametrize("text", ["1_0", "\u0661", "9" * 5000, "1;2", "--1", "\udcff"])
def test_odd_ids(text: str) -> None:
    with pytest.raises(PocketError, match="token ids"):
        parse_ids(text)


def test_the_runner_without_a_driver(tmp_path: Path) -> None:
    """No OpenCL device at all: the loader finds no driver."""
    plan, empty = tmp_path / "x.plan", tmp_path / "vendors"
    empty.mkdir()
    start("compile", DEMO, "-o", plan, "--device", "pocl").communicate(timeout=60)
    command = [build_runner(), plan, "--cl-lib", str(find_opencl())]
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | {"OCL_ICD_VENDORS": str(empty)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout.startswith('error {"what": "OpenCL lists no device')


@pytest.mark.parametrize("value", ["'", "c++ '"])
def test_a_compiler_that_is_no_command(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CXX", value)
    with pytest.raises(PocketError, match="CXX"):
        build_runner()


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(PocketError) as caught:
        build_runner()
    assert "XDG_CACHE_HOME" in caught.value.hint


@pytest.mark.parametrize("name", ["loop", "file"])
def test_a_plan_in_an_impossible_place(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("mine")
    process = start("compile", DEMO, "-o", tmp_path / name, "--device", "pocl")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "unexpected" not in errors and str(tmp_path) in errors
    assert {path.name for path in tmp_path.iterdir()} == {"loop", "file"}


@pytest.mark.skipif(shutil.which("mount") is None or os.getuid() != 0, reason="it mounts a tmpfs")
def test_a_full_disk(tmp_path: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this container mounts nothing")
    try:
        process = start("compile", DEMO, "-o", tmp_path / "x.plan", "--device", "pocl")
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1 and "no space for the plan" in errors
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
