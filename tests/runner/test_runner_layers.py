"""The runner's folders: who may include whose headers, how large they are, and what is shipped."""

from __future__ import annotations

import re
import tomllib

import pytest

from toolkit.toolchain.build import SOURCES

LOADER = ("base", "sizes", "plan")
DEVICE = ("base", "opencl")
GATHER = (*DEVICE, "sizes", "plan", "offload", "waves", "gather")
EXECUTOR = (*GATHER, "build", "executor")
SESSION = (*EXECUTOR, "session")
# The folders whose headers a folder may include, itself among them.
ARROWS = {
    "base": ("base",),
    "opencl": DEVICE,
    "sizes": ("sizes",),
    "plan": LOADER,
    "build": (*DEVICE, "sizes", "plan", "build"),
    "offload": (*LOADER, "offload"),
    "waves": (*LOADER, "waves"),
    "gather": GATHER,
    "executor": EXECUTOR,
    "session": SESSION,
    "probe": (*DEVICE, "probe"),
    "capi": (*SESSION, "capi", "include"),
    "program": (*SESSION, "probe", "program"),
    "include": (),
    "bionic": (),
}
MOST_MODULES = 15
FILES = sorted(path for kind in ("*.cpp", "*.h") for path in SOURCES.rglob(kind))
QUOTED = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def faults(path: str, source: str) -> list[str]:
    """Which includes of a file its folder forbids; both are named from the runner's root."""
    folder = path.split("/")[0]
    included = QUOTED.findall(source)
    missing = [f"{path}: there is no {name}" for name in included if not (SOURCES / name).is_file()]
    upwards = [
        f"{path}: {folder} may not include {name}"
        for name in included
        if name.split("/")[0] not in ARROWS[folder]
    ]
    return missing + upwards


def modules(folder: str) -> set[str]:
    """A header and its .cpp count as one."""
    return {path.stem for path in FILES if path.parent == SOURCES / folder}


@pytest.mark.parametrize("path", [path.relative_to(SOURCES).as_posix() for path in FILES])
def test_includes_keep_to_the_arrows(path: str) -> None:
    assert faults(path, (SOURCES / path).read_text()) == []


@pytest.mark.parametrize(
    "path, name",
    [
        ("base/files.cpp", "plan/plan.h"),
        ("plan/plan.cpp", "opencl/device.h"),
        ("opencl/device.cpp", "plan/plan.h"),
        ("build/programs.cpp", "executor/executor.h"),
        ("offload/machine.cpp", "opencl/device.h"),
        ("gather/gatherer.cpp", "executor/recorder.h"),
        ("executor/executor.h", "session/session.h"),
        ("session/engine.cpp", "include/pocketcl.h"),
        ("capi/c_api.cpp", "probe/probe.h"),
        ("plan/plan.cpp", "expr.h"),  # not from the root
        ("plan/plan.cpp", "plan/absent.h"),
    ],
)
def test_the_rule_can_fail(path: str, name: str) -> None:
    assert faults(path, f'#include <string>\n\n#include "{name}"\n') != []


def test_the_arrows_make_no_circle() -> None:
    below = {folder: {*others} - {folder} for folder, others in ARROWS.items()}
    while free := [folder for folder, others in below.items() if not others & below.keys()]:
        for folder in free:
            del below[folder]
    assert below == {}


def test_every_folder_has_its_arrows_and_is_small() -> None:
    assert {path.relative_to(SOURCES).parts[0] for path in FILES} == ARROWS.keys()
    for folder in ARROWS:
        assert len(modules(folder)) <= MOST_MODULES, folder


def test_the_wheel_carries_every_source() -> None:
    checkout = SOURCES.parent
    settings = tomllib.loads((checkout / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["android_runner"]
    shipped = {path for pattern in patterns for path in SOURCES.glob(pattern)}
    hidden = {path for path in SOURCES.rglob("*") if path.name.startswith(".")}
    assert {path for path in SOURCES.rglob("*") if path.is_file()} - hidden <= shipped
