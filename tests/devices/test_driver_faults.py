"""Known faults of drivers: each line of devices.yaml, who has it, and what plans carry of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flash_toy import FlashToy
from toy import Toy

from opencl_kernels import KERNELS
from toolkit.devices.driver_faults import KnownFault, faults_met_by, known_fault
from toolkit.devices.profiles import driver_faults, known_faults
from toolkit.plan.load import load_plan
from toolkit.plan.schema import BUILD_OPTIONS, FEATURES, DriverFault, Plan
from toolkit.plan.text import to_json

LINES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "devices.yaml").read_text(encoding="utf-8")
)["drivers"]
KEYS = {"compiler", "from", "before", "gpu", "fault", "without", "avoided", "source"}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["fault"][:30])
def test_every_line_says_whom_it_concerns_and_has_a_source(line: dict[str, Any]) -> None:
    assert set(line) <= KEYS and line["fault"] and line["source"].startswith("S ")
    assert ("compiler" in line) != ("gpu" in line)
    assert all(isinstance(line[key], str) for key in ("from", "before") if key in line)
    assert "compiler" in line or not {"from", "before", "without"} & set(line)
    assert not {"without", "avoided"} <= set(line)  # one answer is enough


def test_what_is_switched_off_is_known_by_that_name() -> None:
    names = {name for line in LINES for name in line.get("without", ())}
    assert names <= {*FEATURES, *BUILD_OPTIONS, *KERNELS}


ADRENO = "OpenCL 3.0 QUALCOMM build: commit #1 changeid #2 Date: 11/16/22 Compiler "


@pytest.mark.parametrize(
    "gpu, driver, words",
    [
        ("Adreno 650", ADRENO + "E031.37.12.01", ["sub_group_reduce", "no vectors", "memory"]),
        ("x", ADRENO + "E031.38.11", ["wrong values", "no vectors", "memory"]),
        ("x", ADRENO + "E031.41.03.02", ["wrong values", "mix f16", "twice", "no vec", "memory"]),
        ("QUALCOMM Adreno(TM) 750", ADRENO + "E031.47.18.36", ["memory", "pointer to bytes"]),
        ("x", ADRENO + "E17.01.00", ["repacking"]),
        ("Adreno(TM) X1-85", ADRENO + "DX.50.41.00", ["26 times slower", "pinned"]),
        ("ARM Platform Mali-G715 r0p0", "3.0", ["casts", "error -36"]),
        ("ARM Platform Mali-G710 r0p0", "3.0", ["casts"]),
        ("Portable Computing Language pthread-skylake", "3.1+debian", []),
        ("", "", []),
    ],
)
def test_known_faults(gpu: str, driver: str, words: list[str]) -> None:
    found = known_faults(gpu, driver)
    assert len(found) == len(words)
    for fault, word in zip(found, words, strict=True):
        assert word in fault.note()


def test_notes_say_what_is_done() -> None:
    line = {"compiler": "E1", "fault": "it is wrong", "source": "S x#1"}
    assert known_fault(line).note() == "it is wrong (x#1)"
    without = known_fault(line | {"without": ["subgroups", "gemv"]})
    assert without.note() == "it is wrong (x#1); not used there: subgroups, gemv"
    avoided = known_fault(line | {"avoided": "no kernel does it"})
    assert avoided.note() == "it is wrong (x#1); avoided: no kernel does it"


def test_every_switch_is_told_to_people() -> None:
    for fault in driver_faults():
        assert fault.note().endswith(", ".join(fault.fault.without))


def plan_of(toy: Toy, **needs: Any) -> Plan:
    toy.plan["programs"][0] |= {k: v for k, v in needs.items() if k == "options"}
    for variant in toy.plan["phases"][0]["steps"][0]["variants"]:
        variant["requires"] = list(needs.get("requires", ()))
    toy.save()
    return load_plan(toy.folder, note=lambda _: None)


def faults(*names: str) -> Iterator[KnownFault]:
    for name in names:
        yield KnownFault(DriverFault("E031", f"{name} fails (x#1)", (name,), "38", "45"))


def test_a_plan_carries_what_its_variants_may_meet(toy: Toy) -> None:
    every = [*faults("subgroups", "fp16", "embed", "gemv", "-cl-mad-enable")]
    plan = plan_of(toy, requires=["fp16"], options=["-cl-mad-enable"])
    met = tuple(faults_met_by(plan, every))
    assert [fault.without for fault in met] == [("fp16",), ("embed",), ("-cl-mad-enable",)]
    assert met[0] == DriverFault("E031", "fp16 fails (x#1)", ("fp16",), "38", "45")


def test_kernels_that_only_gathers_launch_may_meet_some(tmp_path: Path) -> None:
    plan = load_plan(FlashToy(tmp_path / "flash").folder)
    met = faults_met_by(plan, [*faults("neurons_cpu", "neurons")])
    assert [fault.without for fault in met] == [("neurons_cpu",)]


def test_only_the_names_that_it_may_meet(toy: Toy) -> None:
    both = KnownFault(DriverFault("E17", "attention fails", ("subgroups", "fp16")))
    [met] = faults_met_by(plan_of(toy, requires=["fp16"]), [both])
    assert met == DriverFault("E17", "attention fails", ("fp16",))


def test_a_plan_without_such_variants_says_nothing_of_drivers(toy: Toy) -> None:
    plan = plan_of(toy)
    assert not [*faults_met_by(plan, [*faults("subgroups")])]
    assert '"drivers"' not in to_json(plan)
