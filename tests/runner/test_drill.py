"""Two compiles, runs and writers of caches at once never use each other's halves (drill.py).

$POCKETCL_DRILL_SECONDS for each work; 2 by default.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from drill import WORKS
from native import DRIVERS, SUPPORT, build
from toy import Toy

from toolkit.toolchain.opencl_loader import find_opencl, runner_environment

SECONDS = os.environ.get("POCKETCL_DRILL_SECONDS", "2")


def drill(name: str, folder: Path, **environment: str) -> dict[str, int]:
    """The counts, once nothing was half and nobody failed."""
    seed = str(random.SystemRandom().randrange(10**6))
    folder.mkdir()
    command = [sys.executable, SUPPORT / "drill.py", name, folder, SECONDS, seed]
    done = subprocess.run(
        command, capture_output=True, text=True, env=runner_environment() | environment
    )
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}{done.stderr}"
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    print(name, counts)
    return counts


@pytest.mark.parametrize(
    "name",
    [
        name if name == "tables" else pytest.param(name, marks=pytest.mark.slow)
        for name in WORKS
        if name != "programs"
    ],
)
def test_nothing_is_half(tmp_path: Path, name: str) -> None:
    counts = drill(name, tmp_path / "drill")
    assert counts["done"] and counts["killed"] and counts["seen"]


def test_runners_share_a_cold_cache(toy: Toy, program: Path, tmp_path: Path) -> None:
    """On the null device: a start takes milliseconds."""
    null = build("libnull_opencl.so", [DRIVERS / "null_opencl.c"], "-shared")
    words = [str(program), str(toy.folder), "--cl-lib", str(null), "--child-builds", "on"]
    counts = drill("programs", tmp_path / "drill", DRILL_RUNNER=json.dumps(words))
    assert counts["done"] and counts["killed"] and counts["seen"]


@pytest.mark.skipif(float(SECONDS) < 10, reason="PoCL takes seconds to compile")
@pytest.mark.slow
def test_runners_share_a_cold_cache_of_pocl(toy: Toy, program: Path, tmp_path: Path) -> None:
    words = [str(program), str(toy.folder), "--cl-lib", str(find_opencl())]
    environment = {"DRILL_RUNNER": json.dumps(words), "POCL_CACHE_DIR": str(tmp_path / "pocl")}
    counts = drill("programs", tmp_path / "drill", **environment)
    assert counts["done"] and counts["killed"] and counts["seen"]
