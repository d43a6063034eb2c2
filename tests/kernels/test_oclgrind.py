"""Oclgrind finds no race, no access out of bounds and no uninitialised read in any kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from needed import needs

from opencl_kernels import KERNELS

LIBRARIES = (
    "/usr/lib/oclgrind/liboclgrind-rt-icd.so",
    "/usr/lib/x86_64-linux-gnu/oclgrind/liboclgrind-rt-icd.so",
    "/usr/local/lib/liboclgrind-rt-icd.so",
)
LIBRARY = os.environ.get("POCKETCL_OCLGRIND") or next(filter(os.path.exists, LIBRARIES), "")
FLOPS = 100_000  # cases beyond it are left out: Oclgrind makes some 100,000 to 2,000,000 a second
SCRIPT = Path(__file__).with_name("run_cases.py")

pytestmark = [
    pytest.mark.oclgrind,
    needs(LIBRARY, "Oclgrind is not installed (apt install oclgrind)"),
]


def run_under_oclgrind(*arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """The run of the script, and what Oclgrind had to say."""
    environment = {
        **os.environ,
        "OCL_ICD_VENDORS": LIBRARY,
        "POCKETCL_PLATFORM": "Oclgrind",
        "OCLGRIND_DATA_RACES": "1",
        "OCLGRIND_UNINITIALIZED": "1",
        "OCLGRIND_UNIFORM_WRITES": "1",
        "PYOPENCL_NO_CACHE": "1",
        "PYTHONPATH": str(SCRIPT.parents[2]),
    }
    # Without -cl-opt-disable the check for uninitialised values fails on permuted vectors.
    options = ("--option=-cl-opt-disable", "--option=-DNO_HALVES")
    command = [sys.executable, str(SCRIPT), *arguments, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    return done, done.stderr


def assert_clean(*arguments: str, last: str) -> None:
    done, complaints = run_under_oclgrind(*arguments)
    assert done.returncode == 0, complaints
    assert done.stdout.split("\n")[-2] == f"done {last}", done.stdout
    assert not complaints.strip(), complaints


FIRST = list(KERNELS)
EACH = 3  # the quick test takes every third kernel


@pytest.mark.parametrize(
    "names", [FIRST[::EACH], pytest.param(FIRST, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_oclgrind_finds_nothing_in_first_cases(names: list[str]) -> None:
    assert_clean(*names, last=names[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_oclgrind_finds_nothing(name: str) -> None:
    assert_clean(name, f"--flops={FLOPS}", last=name)


def test_oclgrind_finds_an_injected_store_out_of_bounds() -> None:
    done, complaints = run_under_oclgrind("rmsnorm_cpu", "--spoil")
    assert "Invalid write" in complaints, done.stdout + complaints
