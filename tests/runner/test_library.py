"""Which OpenCL library is taken, and what it may lack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from needed import absent
from talk import Start, failure
from toy import Toy

from toolkit.toolchain.opencl_loader import find_opencl, runner_environment

TEXT = [3, 1, 4, 1, 5]
QCOM = "cl_qcom_priority_hint cl_qcom_perf_hint"
ARM = "cl_khr_priority_hints cl_arm_scheduling_controls"
OPTIONAL = [
    "clGetPlatformInfo",
    "clGetProgramInfo",
    "clGetProgramBuildInfo",
    "clGetKernelInfo",
    "clGetKernelWorkGroupInfo",
    "clGetEventProfilingInfo",
    "clCreateKernelsInProgram",
    "clEnqueueMarkerWithWaitList",
    "clReleaseContext",
    "clReleaseCommandQueue",
    "clReleaseMemObject",
    "clReleaseProgram",
    "clReleaseKernel",
    "clReleaseEvent",
    "clEnqueueFillBuffer",
    "clCreateCommandQueueWithProperties",
    "clCreateProgramWithBinary",
    "clGetExtensionFunctionAddressForPlatform",
]


def devices(program: Path, *options: str, **env: str) -> tuple[str, str]:
    """The runner's answer to --devices, and what stood on stderr."""
    done = subprocess.run(
        [program, "--devices", *options],
        env=runner_environment() | {"FAKE_REAL": str(find_opencl())} | env,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip(), done.stderr


def answers_rightly(toy: Toy, start: Start, library: Path, **env: str) -> None:
    talk = start(toy.folder, "--cl-lib", str(library), FAKE_REAL=str(find_opencl()), **env)
    first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")
    ids, _ = talk.decode(f"decode {len(TEXT)} {first} 6")
    assert [first, *ids] == toy.continued(TEXT, 7)
    assert talk.end()[0] == 0


def test_a_library_that_hands_out_its_functions(toy: Toy, start: Start, fake_driver: Path) -> None:
    answers_rightly(toy, start, fake_driver)


@pytest.mark.parametrize("missing", [*OPTIONAL, ",".join(OPTIONAL), "clCreateCommandQueue"])
def test_without_functions_that_are_not_needed(
    toy: Toy, start: Start, fake_driver: Path, tmp_path: Path, missing: str
) -> None:
    cache = ("--cache", str(tmp_path / "own"))
    talk = start(
        toy.folder, "--cl-lib", str(fake_driver), *cache,
        FAKE_REAL=str(find_opencl()), FAKE_MISSING=f",{missing},",
    )  # fmt: skip
    assert talk.next("prefill 0 3 1 4") == toy.next([3, 1, 4])
    assert talk.decode("decode 0 3 5")[0] == toy.continued([3], 5)


def test_needed_functions_are_named_all_at_once(program: Path, fake_driver: Path) -> None:
    missing = ",clCreateBuffer,clFinish,clCreateCommandQueue,clCreateCommandQueueWithProperties,"
    line, _ = devices(program, "--cl-lib", str(fake_driver), FAKE_MISSING=missing)
    facts = failure(line)
    assert facts["what"] == "no OpenCL library is here"
    because = "clFinish, clCreateBuffer, clCreateCommandQueue are missing in it"
    assert facts["because"] == f"{fake_driver}: {because}"


def test_profiling_without_the_function_for_it(
    toy: Toy, start: Start, fake_driver: Path, tmp_path: Path
) -> None:
    env = {"FAKE_REAL": str(find_opencl()), "FAKE_MISSING": ",clGetEventProfilingInfo,"}
    talk = start(toy.folder, "--cl-lib", str(fake_driver), "--profile", **env)
    assert talk.ask("profile") == "ok"
    talk.next("prefill 0 3 1 4")
    assert "clGetEventProfilingInfo" in talk.ask(f"profile {tmp_path / 'p'}")


@pytest.fixture
def folder(tmp_path: Path, fake_driver: Path) -> Path:
    """Two libraries: the first in the order lists nothing, the second works."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    source = "int clGetPlatformIDs(unsigned n, void *p, unsigned *c) { return -1001; }\n"
    names = {"GetDeviceIDs", "GetDeviceInfo", "BuildProgram", "SetKernelArg", "Flush", "Finish"}
    names |= {"EnqueueNDRangeKernel", "EnqueueReadBuffer", "EnqueueWriteBuffer", "WaitForEvents"}
    names |= {"CreateContext", "CreateBuffer", "CreateSubBuffer", "CreateProgramWithSource"}
    names |= {"CreateKernel", "CreateCommandQueue"}
    source += "".join(f"int cl{name}(void) {{ return -1; }}\n" for name in sorted(names))
    (tmp_path / "empty.c").write_text(source)
    command = [compiler, "-shared", "-fPIC", "-w", "-o", libraries / "libOpenCL.so.1"]
    subprocess.run([*command, tmp_path / "empty.c"], check=True)
    (libraries / "libOpenCL.so").write_text("no ELF file\n")
    shutil.copy(fake_driver, libraries / "libOpenCL-pixel.so")
    return libraries


def real_path() -> str:
    """The real loader by its path: its name leads to the fake ones here."""
    name = str(find_opencl())
    if os.path.isabs(name):
        return name
    done = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.strip().startswith(f"{name} ")]
    if not lines:
        absent("the place of the OpenCL loader is not known")
    return lines[0].split(" => ")[1]


def test_the_next_library_where_one_lists_nothing(program: Path, folder: Path) -> None:
    line, _ = devices(program, LD_LIBRARY_PATH=str(folder), FAKE_REAL=real_path())
    listed = json.loads(line)
    assert listed["library"] == "libOpenCL-pixel.so" and listed["devices"]


def test_the_error_tells_of_every_library(program: Path, folder: Path) -> None:
    env = {"LD_LIBRARY_PATH": str(folder), "FAKE_REAL": real_path(), "FAKE_EMPTY": "1"}
    facts = failure(devices(program, **env)[0])
    assert facts["what"] == "OpenCL lists no device"
    tried = facts["because"].split("; ")
    assert tried[0] == "libOpenCL.so.1: it lists no platform: CL_PLATFORM_NOT_FOUND_KHR (-1001)"
    assert "libOpenCL.so" in tried[1] and "file too short" in tried[1]
    assert any(t.startswith("libOpenCL-pixel.so: it lists no platform") for t in tried)
    assert any("/vendor/lib64/egl/libGLES_mali.so" in t for t in tried)


def test_started_again_among_vendor_libraries(program: Path, folder: Path, tmp_path: Path) -> None:
    """As on a phone whose linker finds the vendor's libraries only by LD_LIBRARY_PATH."""
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("libOpenCL.so.1", "libOpenCL.so"):
        (broken / name).write_text("no ELF file\n")
    env = {"LD_LIBRARY_PATH": str(broken), "POCKETCL_VENDOR_LIBS": str(folder)}
    line, _ = devices(program, **env, FAKE_REAL=real_path())
    assert json.loads(line)["library"] == "libOpenCL-pixel.so"
    nothing = devices(program, **env | {"POCKETCL_VENDOR_LIBS": str(broken)})
    assert failure(nothing[0])["what"] == "no OpenCL library is here"


def test_the_environment_names_a_library(program: Path, fake_driver: Path) -> None:
    line, _ = devices(program, POCKETCL_CL_LIB=str(fake_driver))
    assert json.loads(line)["library"] == str(fake_driver)
    line, _ = devices(program, POCKETCL_CL_LIB="/nowhere/lib.so")
    assert "/nowhere/lib.so" in failure(line)["because"]


# --- hints ---------------------------------------------------------------------------------------


def hints(toy: Toy, start: Start, library: Path, log: Path, *options: str, **env: str) -> list[str]:
    talk = start(
        toy.folder, "--cl-lib", str(library), *options,
        FAKE_REAL=str(find_opencl()), FAKE_LOG=str(log), **env,
    )  # fmt: skip
    assert talk.next("prefill 0 3 1 4") == toy.next([3, 1, 4])
    lines = log.read_text().split("\n") if log.exists() else []
    notes = talk.end()[1].splitlines()
    return [*(line for line in lines if line.startswith(("queue", "context"))), *notes]


@pytest.mark.parametrize(
    "priority, extensions, expected",
    [
        ("normal", "cl_khr_priority_hints cl_qcom_priority_hint cl_qcom_perf_hint", []),
        ("low", "cl_khr_priority_hints cl_qcom_priority_hint", ["queue 1093=0", "queue 1096=4"]),
        ("high", "cl_khr_priority_hints", ["queue 1093=0", "queue 1096=1"]),
        ("low", QCOM, ["context 40c9=40cc"]),
        ("high", "cl_qcom_perf_hint", ["context 40c2=40c3"]),
        ("high", QCOM, ["context 40c9=40ca", "context 40c2=40c3"]),
        ("high --power low", QCOM, ["context 40c9=40ca", "context 40c2=40c5"]),
        ("low --power high", QCOM, ["context 40c9=40cc", "context 40c2=40c3"]),
        ("normal --power normal", QCOM, ["context 40c2=40c4"]),
        ("low", ARM, ["queue 1093=0", "queue 1096=4", "queue 41f3=1"]),
        ("high", ARM, ["queue 1093=0", "queue 1096=1"]),
    ],
)  # fmt: skip
def test_priority(
    toy: Toy, start: Start, fake_driver: Path, tmp_path: Path,
    priority: str, extensions: str, expected: list[str],
) -> None:  # fmt: skip
    env = {"FAKE_EXTENSIONS": extensions, "POCKETCL_CHILD_BUILDS": "off"}
    found = hints(toy, start, fake_driver, tmp_path / "log", "--priority", *priority.split(), **env)
    assert found == expected


def test_priority_that_the_driver_refuses(
    toy: Toy, start: Start, fake_driver: Path, tmp_path: Path
) -> None:
    env = {"FAKE_EXTENSIONS": "cl_khr_priority_hints refused", "POCKETCL_CHILD_BUILDS": "off"}
    found = hints(toy, start, fake_driver, tmp_path / "log", "--priority", "low", **env)
    assert found[-1] == "note: the driver takes no --priority or --power: CL_INVALID_VALUE (-30)"
    found = hints(toy, start, fake_driver, tmp_path / "2", POCKETCL_PRIORITY="low")
    assert found == ["note: the driver takes no hints: --priority and --power change nothing"]
    assert start(toy.folder, "--priority", "highest").end()[0] == 2
    assert start(toy.folder, "--power", "most").end()[0] == 2


def test_a_mali_that_limits_no_units(
    toy: Toy, start: Start, fake_driver: Path, tmp_path: Path
) -> None:
    """Before 0.6 the extension had less."""
    env = {"FAKE_EXTENSIONS": ARM, "FAKE_CONTROLS": "127", "POCKETCL_CHILD_BUILDS": "off"}
    found = hints(toy, start, fake_driver, tmp_path / "log", "--priority", "low", **env)
    assert found == ["queue 1093=0", "queue 1096=4"]
