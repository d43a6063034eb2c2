"""Both executors pass over what a driver is known to get wrong, by the version of its compiler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from native import DRIVERS, build
from talk import Start, failure
from toy import Toy

from toolkit.devices.driver_faults import concerns
from toolkit.errors import PocketError
from toolkit.executors.opencl.device_fit import DeviceLimits, check_fit, lack
from toolkit.plan.load import load_plan
from toolkit.plan.schema import DriverFault

VERSIONS = json.loads(Path(__file__).with_name("driver_versions.json").read_text())
FAULT = "clBuildProgram dies of it (x#1)"
HINT = 'a newer driver; or take the line out of "drivers" in plan.json to try it'


def bounds(case: dict[str, Any]) -> dict[str, str]:
    return {key: case[key] for key in ("from", "before") if key in case}


@pytest.mark.parametrize(
    "case", VERSIONS, ids=lambda case: f"{case['driver'][-22:]} {bounds(case)}"
)
def test_python_compares_versions(case: dict[str, Any]) -> None:
    since, before = case.get("from", ""), case.get("before", "")
    fault = DriverFault(case["compiler"], FAULT, (), since, before)
    assert concerns(fault, case["driver"]) is case["concerned"]


@pytest.fixture(scope="module")
def null_device() -> Path:
    return build("libnull_opencl.so", [DRIVERS / "null_opencl.c"], "-shared")


def name_fault(toy: Toy, *without: str, **bounds: str) -> None:
    fault = {"compiler": "E031", "fault": FAULT, "without": list(without)}
    toy.plan["drivers"] = [fault | bounds]
    toy.save()


@pytest.mark.parametrize(
    "case", VERSIONS, ids=lambda case: f"{case['driver'][-22:]} {bounds(case)}"
)
def test_the_runner_compares_versions(
    toy: Toy, start: Start, null_device: Path, case: dict[str, Any]
) -> None:
    name_fault(toy, "recall", compiler=case["compiler"], **bounds(case))
    talk = start(
        toy.folder, "--cl-lib", str(null_device), "--cache", "", NULL_CL_DRIVER=case["driver"]
    )
    assert bool(talk.ready) is not case["concerned"]
    if case["concerned"]:
        facts = failure(talk.first)
        assert facts["what"].startswith("no variant of toy.recall runs on ")
        assert facts["because"] == (
            f"kernels/recall.cl (recall) is left out with this driver: {FAULT}"
        )
        assert facts["hint"] == HINT


NAMES = ("recall", "fp16", "-cl-mad-enable")  # what the first variant of toy.recall needs


def give_two_variants(toy: Toy) -> None:
    """toy.recall has a variant before the usual one: another kernel of the same text."""
    toy.sources["other"] = toy.sources["recall"].replace("recall(", "other(")
    other = {**toy.plan["programs"][2], "source": "kernels/other.cl", "kernel": "other"}
    toy.plan["programs"][2]["options"] = ["-cl-mad-enable"]
    toy.plan["programs"].append(other)
    for phase in toy.plan["phases"]:
        [first] = phase["steps"][2]["variants"]
        last = {**first, "program": len(toy.plan["programs"]) - 1}
        phase["steps"][2]["variants"] = [{**first, "requires": ["fp16"]}, last]


@pytest.mark.parametrize("name", NAMES)
def test_the_next_variant_is_taken_without_a_word(
    toy: Toy, start: Start, null_device: Path, tmp_path: Path, name: str
) -> None:
    """By the feature, the kernel or the option that the first one needs."""
    give_two_variants(toy)
    name_fault(toy, name)

    def profiled(driver: str) -> set[str]:
        options = ("--cl-lib", str(null_device), "--cache", "", "--recorded", "off", "--profile")
        talk = start(toy.folder, *options, NULL_CL_DRIVER=driver)
        assert talk.ask("profile") == "ok"
        talk.next("prefill 0 3 1 4")
        assert talk.ask(f"profile {tmp_path / 'p.json'}") == "ok"
        assert talk.end() == (0, "")
        return {launch["kernel"] for launch in json.loads((tmp_path / "p.json").read_text())}

    assert {"recall", "other"} & profiled("3.1+debian") == {"recall"}
    assert {"recall", "other"} & profiled("Compiler E031.50.1") == {"other"}


def limits(driver: str) -> DeviceLimits:
    return DeviceLimits("a device", driver, frozenset(["fp16"]), 32768)


@pytest.mark.parametrize("name", NAMES)
def test_python_passes_over_the_same(toy: Toy, name: str) -> None:
    give_two_variants(toy)
    name_fault(toy, name)
    plan = load_plan(toy.folder, note=lambda _: None)
    step = plan.phases[0].dispatches()[2]
    first, last = step.variants
    assert lack(plan, step, first, limits("Compiler E031.50.1")).endswith(FAULT)
    assert not lack(plan, step, last, limits("Compiler E031.50.1"))
    assert not lack(plan, step, first, limits("3.1+debian"))


def test_where_no_variant_is_left_python_says_why(toy: Toy) -> None:
    name_fault(toy, "recall")
    plan = load_plan(toy.folder, note=lambda _: None)
    check_fit(plan, plan.phases, limits("3.1+debian"))
    with pytest.raises(PocketError, match=r"no variant of toy\.recall runs on a device") as caught:
        check_fit(plan, plan.phases, limits("Compiler E031.50.1"))
    assert caught.value.because.endswith(FAULT) and caught.value.hint == HINT
