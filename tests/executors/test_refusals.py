"""Drivers that refuse a kernel, or say that it takes too much: the next variant gives the answers.

The runner meets them in an interposed OpenCL library (fake_driver.c), the Python executor in
functions of pyopencl that are replaced. Drivers that die are tested in test_driver_deaths.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyopencl as cl
import pytest
from toy import SOURCES, Toy

from toolkit.errors import PocketError
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.executors.opencl import device_fit, phases
from toolkit.toolchain.opencl_loader import find_opencl

TEXT = [3, 1, 4, 1, 5]
RISKY = "kernels/risky.cl (fatal_name)"
NEXT = "note: the next variant is used instead"
BUILD, KERNEL, LAUNCH = "", "kernel", "launch"  # where a driver refuses; FAKE_AT
OUT_OF_RESOURCES, OUT_OF_HOST_MEMORY, INVALID_GROUP_SIZE = -5, -6, -54
ASKED = {
    "MOST": device_fit.KERNEL.WORK_GROUP_SIZE,
    "LOCAL": device_fit.KERNEL.LOCAL_MEM_SIZE,
    "PRIVATE": device_fit.KERNEL.PRIVATE_MEM_SIZE,
    "SUB_GROUP": cl.kernel_sub_group_info.MAX_SUB_GROUP_SIZE_FOR_NDRANGE,
}
SHUFFLES = ["subgroups", "shuffles"]


class Refusing:
    """How a driver treats the kernel `fatal_name`: the settings of fake_driver.c."""

    def __init__(self, at: str = "", code: int = 0, times: int = 99, **takes: int) -> None:
        self.at, self.code, self.left, self.takes = at, code, times, takes

    def settings(self) -> dict[str, str]:
        given = {"AT": self.at, "CODE": str(self.code), "TIMES": str(self.left)}
        given = {} if self.code == 0 else given
        given |= {name: str(value) for name, value in self.takes.items()}
        return {f"FAKE_{name}": value for name, value in given.items()} | {"FAKE_GPU": "1"}

    def refuse(self, at: str) -> None:
        if self.code and self.at == at and self.left:
            self.left -= 1
            raise cl.RuntimeError(cl._cl._ErrorRecord("a call", self.code, "refused"))

    def takes_of(self, kernel: cl.Kernel, what: int) -> int:
        is_marked = kernel.function_name == "fatal_name"
        named = {ASKED[name]: value for name, value in self.takes.items() if is_marked}
        return named.get(what, 0)


def replace_pyopencl(patch: pytest.MonkeyPatch, driver: Refusing) -> None:
    """The same of the Python executor."""
    real_program, real_kernel, launch = cl.Program, cl.Kernel, cl.enqueue_nd_range_kernel
    limits_of = device_fit.limits_of

    class Program:
        def __init__(self, context: cl.Context, *source: Any) -> None:
            self.context, self.source = context, source

        def build(self, **options: Any) -> cl.Program:
            if "FATAL" in str(self.source):
                driver.refuse(BUILD)
            return real_program(self.context, *self.source).build(**options)

    def kernel(program: cl.Program, name: str) -> cl.Kernel:
        if name == "fatal_name":
            driver.refuse(KERNEL)
        return real_kernel(program, name)

    def enqueue(queue: cl.CommandQueue, kernel: cl.Kernel, *sizes: Any) -> cl.Event:
        if kernel.function_name == "fatal_name":
            driver.refuse(LAUNCH)
        return launch(queue, kernel, *sizes)

    patch.setattr("toolkit.executors.opencl.variants.cl.Program", Program)
    patch.setattr("toolkit.executors.opencl.variants.cl.Kernel", kernel)
    patch.setattr("toolkit.executors.opencl.phases.cl.enqueue_nd_range_kernel", enqueue)
    patch.setattr(device_fit, "_ask", lambda kernel, _, what: driver.takes_of(kernel, what))
    asked = ASKED["SUB_GROUP"]
    patch.setattr(device_fit, "_sub_group", lambda kernel, *_: driver.takes_of(kernel, asked))
    gpu = {"is_cpu": False, "features": frozenset(SHUFFLES)}
    patch.setattr(phases, "limits_of", lambda device: replace(limits_of(device), **gpu))


Open = Callable[[Refusing], Executor]


@pytest.fixture(params=["host", "runner"])
def opened(
    request: pytest.FixtureRequest,
    toy: Toy,
    fake_driver: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Open]:
    """Opens the toy, whose first dispatch has a variant before the usual one, on a driver."""
    toy.sources["risky"] = SOURCES["embed"].replace("embed(", "fatal_name(") + "// FATAL\n"
    risky = {"source": "kernels/risky.cl", "kernel": "fatal_name"}
    toy.plan["programs"].append({**toy.plan["programs"][0], **risky})
    for phase in toy.plan["phases"]:
        good = phase["steps"][0]["variants"][0]
        first = {**good, "program": len(toy.plan["programs"]) - 1}
        phase["steps"][0]["variants"] = [first, good]
    toy.save()
    executors = []

    def run(driver: Refusing) -> Executor:
        if request.param == "host":
            replace_pyopencl(monkeypatch, driver)
            executors.append(open_executor(toy.folder, "host"))
        else:
            for name, value in driver.settings().items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("FAKE_REAL", str(find_opencl()))
            monkeypatch.setenv("FAKE_EXTENSIONS", "cl_khr_subgroups cl_khr_subgroup_shuffle")
            monkeypatch.setenv("POCKETCL_CHILD_BUILDS", "off")
            monkeypatch.setattr("toolkit.executors.target.find_opencl", lambda: fake_driver)
            executors.append(open_executor(toy.folder, "runner", cache=tmp_path / "own"))
        return executors[-1]

    yield run
    for executor in executors:
        executor.close()


def is_right(executor: Executor, toy: Toy) -> None:
    assert executor.prefill(TEXT, 0) == toy.next(TEXT)
    assert list(executor.decode(TEXT[0], 0, 4, ())) == toy.continued(TEXT[:1], 4)


@pytest.mark.parametrize("at", [BUILD, KERNEL])
def test_a_compiler_that_ran_out_of_memory_is_asked_again(
    toy: Toy, opened: Open, at: str, capfd: pytest.CaptureFixture[str]
) -> None:
    is_right(opened(Refusing(at, OUT_OF_HOST_MEMORY, times=1)), toy)
    assert capfd.readouterr().err == ""


def test_once(toy: Toy, opened: Open, capfd: pytest.CaptureFixture[str]) -> None:
    is_right(opened(Refusing(BUILD, OUT_OF_HOST_MEMORY, times=2)), toy)
    said = capfd.readouterr().err
    assert f"note: {RISKY} does not build:" in said and said.endswith(NEXT + "\n")
    assert "OUT_OF_HOST_MEMORY" in said


@pytest.mark.parametrize(
    "driver, words",
    [
        (Refusing(BUILD, OUT_OF_RESOURCES), "does not build:"),
        (Refusing(KERNEL, OUT_OF_RESOURCES), "gives no kernel: "),
        (Refusing(LAUNCH, INVALID_GROUP_SIZE), "is not launched here: "),
        (Refusing(LAUNCH, OUT_OF_RESOURCES), "is not launched here: "),
        (Refusing(LOCAL=2**30), "takes 1073741824 bytes of local memory, the device has "),
        (Refusing(PRIVATE=512), "spills 512 bytes of each work-item into memory"),
    ],
    ids=["build", "kernel", "sizes at a launch", "resources at a launch", "local memory", "spill"],
)
def test_the_next_variant_is_used_and_why_is_said_once(
    toy: Toy, opened: Open, driver: Refusing, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    driver = Refusing(driver.at, driver.code, driver.left, **driver.takes)
    is_right(opened(driver), toy)
    said = capfd.readouterr().err
    assert said.startswith(f"note: {RISKY} {words}") and said.endswith(NEXT + "\n")
    assert said.count(RISKY) == said.count(NEXT) == 1


def test_groups_that_a_kernel_does_not_allow(
    toy: Toy, opened: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    for phase in toy.plan["phases"]:
        for variant in phase["steps"][0]["variants"]:
            variant["local"] = [4]
    toy.save_json()
    is_right(opened(Refusing(MOST=3)), toy)
    assert f"{RISKY} allows work-groups of 3 items here" in capfd.readouterr().err


def needs_shuffles(toy: Toy) -> None:
    for phase in toy.plan["phases"]:
        phase["steps"][0]["variants"][0]["requires"] = SHUFFLES
    toy.save_json()


@pytest.mark.parametrize("size, found", [(8, "of 8 items here"), (0, "of unknown size")])
def test_shuffles_that_would_leave_their_sub_group(
    toy: Toy, opened: Open, size: int, found: str, capfd: pytest.CaptureFixture[str]
) -> None:
    needs_shuffles(toy)
    is_right(opened(Refusing(SUB_GROUP=size)), toy)
    said = capfd.readouterr().err
    assert said == f"note: {RISKY} has sub-groups {found}, its shuffles need 16\n{NEXT}\n"


def test_shuffles_that_stay_in_it(
    toy: Toy, opened: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    needs_shuffles(toy)
    is_right(opened(Refusing(SUB_GROUP=16)), toy)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("opened", ["runner"], indirect=True)
@pytest.mark.parametrize("version, by", [("2.0", "extension"), ("2.1", "core"), ("3.0", "core")])
def test_the_question_is_asked_by_the_function_of_its_version(
    toy: Toy, opened: Open, version: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_shuffles(toy)
    monkeypatch.setenv("FAKE_OPENCL", f"OpenCL {version} fake")
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    is_right(opened(Refusing(SUB_GROUP=16)), toy)
    lines = (tmp_path / "log").read_text().splitlines()
    size = toy.plan["phases"][0]["steps"][0]["variants"][0]["local"][0]
    assert {line for line in lines if " of " in line} == {f"{by} of {size}"}


@pytest.mark.parametrize("opened", ["runner"], indirect=True)
def test_nobody_can_answer(
    toy: Toy, opened: Open, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    needs_shuffles(toy)
    monkeypatch.setenv("FAKE_MISSING", ",clGetKernelSubGroupInfo,")
    is_right(opened(Refusing(SUB_GROUP=16)), toy)
    assert "has sub-groups of unknown size" in capfd.readouterr().err


@pytest.mark.parametrize(
    "version, answer, found",
    [("1.2", 32, 0), ("2.0", 32, 0), ("2.1", 32, 32), ("3.0", 32, 32), ("3.0", None, 0)],
)
def test_python_asks_drivers_that_know_the_question(
    version: str, answer: int | None, found: int
) -> None:
    asked = []

    def answers(*question: Any) -> int:
        asked.append(question)
        if answer is None:
            raise cl.LogicError(cl._cl._ErrorRecord("a call", -30, "refused"))
        return answer

    device: Any = SimpleNamespace(get_info=lambda _: f"OpenCL {version} fake")
    kernel: Any = SimpleNamespace(get_sub_group_info=answers)
    assert device_fit._sub_group(kernel, device, (64, 1)) == found
    assert asked == ([] if version < "2.1" else [(device, ASKED["SUB_GROUP"], [64, 1])])


def test_what_spills_is_used_where_nothing_else_works(
    toy: Toy, opened: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    for phase in toy.plan["phases"]:
        phase["steps"][0]["variants"].pop()
    toy.save_json()
    is_right(opened(Refusing(PRIVATE=512)), toy)
    assert capfd.readouterr().err == ""


def test_a_launch_that_nothing_is_left_for(toy: Toy, opened: Open) -> None:
    for phase in toy.plan["phases"]:
        phase["steps"][0]["variants"].pop()
    toy.save_json()
    with pytest.raises(PocketError):
        opened(Refusing(LAUNCH, INVALID_GROUP_SIZE)).prefill(TEXT, 0)
