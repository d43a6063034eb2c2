"""A plan to tune, and tables of a test's own."""

from pathlib import Path

import pytest

import toolkit
from toolkit.compiler import tuned

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tables of this test only; the runner that is built already serves."""
    from toolkit.toolchain.build import build_runner

    program = build_runner()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("toolkit.executors.target.build_runner", lambda: program)
    monkeypatch.setattr(tuned, "PACKAGE", tmp_path / "package/opencl_kernels")
    return tmp_path / "cache/pocketcl/tuned/pocl.json"


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "demo.plan"
    toolkit.compile(DEMO, path, device="pocl", tuned=False)
    return path
