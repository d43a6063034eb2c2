"""The runner's program, plans for it, and runners that tests start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from native import DRIVERS, build
from talk import Start, Talk
from toy import Toy

import toolkit
from toolkit.toolchain.build import build_runner
from toolkit.toolchain.opencl_loader import find_opencl, runner_environment


@pytest.fixture(scope="session")
def program() -> Path:
    return build_runner()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = tmp_path_factory.mktemp("demo") / "demo.plan"
    toolkit.compile(Path(toolkit.__file__).parent / "demo_model", plan, device="pocl")
    return plan


@pytest.fixture(scope="session")
def fake_driver() -> Path:
    """A driver that stands before the real one; see fake_driver.c."""
    sources = sorted(DRIVERS.glob("fake_*.c"))
    return build("libOpenCL-pixel.so", sources, "-shared", "-fvisibility=hidden")


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "toy plan")


@pytest.fixture
def start(program: Path, cache: Path) -> Iterator[Start]:
    """Starts runners and ends those that a test leaves."""
    started: list[Talk] = []

    def run(folder: Path, *options: str, program: Path = program, **env: str) -> Talk:
        arguments = [str(folder), "--cache", str(cache), "--cl-lib", str(find_opencl()), *options]
        started.append(Talk(program, arguments, runner_environment() | env))
        return started[-1]

    yield run
    for talk in started:
        talk.child.kill()
        talk.child.communicate()
