"""Options of the test run."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Compiling kernels is most of what a cold run does. PoCL compiles one again for small launches and
# for those at offset 0, and optimises it, which models of this size don't need: half of the time
# goes without both. .ci/run tests the kernels optimised as well, as users get them.
QUICK = {"POCL_WORK_GROUP_SPECIALIZATION": "0", "POCL_EXTRA_BUILD_FLAGS": "-cl-opt-disable"}

# What tests share is imported by plain name; its asserts show their values as those of tests do.
SHARED = [
    file for name in ("support", "phone") for file in (Path(__file__).parent / name).glob("*.py")
]
pytest.register_assert_rewrite(*(file.stem for file in SHARED))


def pytest_addoption(parser: pytest.Parser) -> None:
    from parts import add_option

    add_option(parser)
    parser.addoption("--update-golden", action="store_true", help="Write golden files anew.")
    parser.addoption("--sanitized", action="store_true", help="The runner has sanitizers in it.")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """After -m and -k have chosen."""
    from parts import keep, sort

    keep(config, items)
    sort(items)


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session", autouse=True)
def kept_programs() -> Iterator[None]:
    """Sessions that this process opens on one plan compile its kernels for the first ones only."""
    from kept_programs import KeptPrograms

    from toolkit.executors.opencl import variants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "_build", KeptPrograms(variants._build))
        yield


@pytest.fixture(scope="session", autouse=True)
def nobodys_warm_sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is run to prepare several tests begins cold, and leaves nothing to begin with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.executors.target.warm_dir", lambda: tmp_path_factory.mktemp("warm"))
        yield


@pytest.fixture(autouse=True)
def own_warm_sets(
    nobodys_warm_sets: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """What one test's runs had in memory no other's begin with: plans of toys are all alike."""
    with pytest.MonkeyPatch.context() as patch:
        folder = cache(lambda: tmp_path_factory.mktemp("warm"))  # made where it is asked for
        patch.setattr("toolkit.executors.target.warm_dir", folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_runner() -> Iterator[None]:
    """Whoever builds this machine's runner where tests keep it gets one that isn't optimised.

    Its objects serve tests of the library as well. .ci/run builds it as users get it, and runs it.
    """
    from native import quick_runner

    from toolkit.paths import cache_dir
    from toolkit.toolchain import build

    usual, ours = build._make, cache_dir()

    def make(toolchain: Any, sources: Any, folder: Path) -> None:
        if toolchain.name != "runner" or folder.parent != ours:  # what a test has in mind
            return usual(toolchain, sources, folder)
        shutil.copy(quick_runner(), folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_make", make)
        yield


@pytest.fixture(scope="session", autouse=True)
def sanitized(request: pytest.FixtureRequest) -> Iterator[None]:
    """With --sanitized, whoever asks for this machine's runner gets the one with sanitizers."""
    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("--sanitized"):
            from native import sanitized_runner

            program = sanitized_runner()
            patch.setattr("toolkit.toolchain.build.build", lambda _: program)
        yield


def pytest_configure(config: pytest.Config) -> None:
    gc.set_threshold(
        100_000, 50, 100
    )  # graphs are many objects and few circles: a tenth of the time
    if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit it
        # What a driver keeps is told from leaks by its name: no other stands before it then.
        use_caches_of_tests(brief=not config.getoption("--sanitized"))
    # A test run in the background ignores SIGINT, which what it starts would inherit.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def use_caches_of_tests(brief: bool) -> None:
    """Nothing that tests compile is found by the user's own runs, nor the other way."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ["XDG_CACHE_HOME"] = str(user / "pocketcl-tests")
    os.environ["POCL_CACHE_DIR"] = str(user / "pocketcl-tests/pocl")
    # Where Python keeps no bytecode, every process that a test starts compiles all that it imports.
    os.environ["PYTHONPYCACHEPREFIX"] = str(user / "pocketcl-tests/bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.pycache_prefix, sys.dont_write_bytecode = os.environ["PYTHONPYCACHEPREFIX"], False
    for name, value in QUICK.items():
        os.environ.setdefault(name, value)
    if brief and os.environ["POCL_EXTRA_BUILD_FLAGS"] == QUICK["POCL_EXTRA_BUILD_FLAGS"]:
        import brief_pocl

        os.environ.update(brief_pocl.environment() if brief_pocl.applies() else {})
