"""Where the runner's OpenCL comes from: the system, or the packages of Python."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from scripts import TEXT
from toy import Toy

from toolkit.errors import PocketError
from toolkit.executors.runner import RunnerExecutor
from toolkit.toolchain import opencl_loader
from toolkit.toolchain.build import build_runner
from toolkit.toolchain.opencl_loader import find_opencl, runner_environment


@pytest.mark.slow
def test_the_loader_and_driver_of_the_wheels(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without system OpenCL: pyopencl's loader, and PoCL from PyPI."""
    if not importlib.util.find_spec("pocl_binary_distribution"):
        pytest.skip("PyPI's PoCL is not installed")
    program = build_runner()  # before the cache moves
    monkeypatch.setattr("toolkit.executors.target.build_runner", lambda: program)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("OCL_ICD_VENDORS", "/nowhere")
    for loader in (find_opencl(), opencl_loader._bundled("libOpenCL*.so*")[0]):
        monkeypatch.setattr("toolkit.executors.target.find_opencl", lambda loader=loader: loader)
        assert "icd-" in runner_environment()["OCL_ICD_VENDORS"]
        try:
            executor = RunnerExecutor(toy.folder)
        except PocketError as error:  # it knows no processor that is younger than LLVM 14
            assert "driver 3.0" in error.what and "unknown target CPU" in error.because
            continue
        assert executor.ready["driver"].startswith("3.0")
        assert executor.prefill(TEXT, 0) == toy.next(TEXT)
        executor.close()


def test_system_drivers_are_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "some.icd").write_text("libsome.so\n")
    for value in (tmp_path, tmp_path / "some.icd"):
        monkeypatch.setenv("OCL_ICD_VENDORS", str(value))
        assert runner_environment()["OCL_ICD_VENDORS"] == str(value)
