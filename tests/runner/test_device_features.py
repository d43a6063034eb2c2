"""Both executors find the same features in what a driver says, however it says it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from native import DRIVERS, build

REPORTS = json.loads(Path(__file__).with_name("device_reports.json").read_text())
SAID = ("version", "extensions", "c_features", "half_config", "sub_groups", "images")
SINCE = {"c_features": "OpenCL 3.0", "half_config": "OpenCL 3.0", "sub_groups": "OpenCL 2.1"}


class FakeDevice:
    """A pyopencl device that answers what the report has, and knows no other question."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report

    def get_info(self, question: int) -> Any:
        cl = pytest.importorskip("pyopencl")
        asked = {
            cl.device_info.VERSION: "version",
            cl.device_info.EXTENSIONS: "extensions",
            cl.device_info.OPENCL_C_FEATURES: "c_features",
            cl.device_info.HALF_FP_CONFIG: "half_config",
            cl.device_info.MAX_NUM_SUB_GROUPS: "sub_groups",
            cl.device_info.IMAGE_SUPPORT: "images",
        }
        if asked[question] not in self.report:
            raise cl.LogicError("clGetDeviceInfo", cl.status_code.INVALID_VALUE, "")
        since, answer = SINCE.get(asked[question], ""), self.report[asked[question]]
        assert since <= self.report["version"], f"{asked[question]} is a question of {since}"
        if asked[question] == "c_features":
            return [SimpleNamespace(version=0, name=name) for name in answer.split()]
        return answer


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report["name"])
def test_python_finds_the_features(report: dict[str, Any]) -> None:
    from toolkit.devices.features import device_features

    assert sorted(device_features(FakeDevice(report))) == report["features"]


@pytest.fixture(scope="module")
def null_device() -> Path:
    return build("libnull_opencl.so", [DRIVERS / "null_opencl.c"], "-shared")


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report["name"])
def test_the_runner_finds_the_features(
    program: Path, null_device: Path, report: dict[str, Any]
) -> None:
    said = {"extensions": "", "images": 0} | {key: report[key] for key in SAID if key in report}
    environment = {f"NULL_CL_{key.upper()}": str(value) for key, value in said.items()}

    command = [str(program), "--devices", "--cl-lib", str(null_device)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    [device] = json.loads(done.stdout)["devices"]
    assert sorted(device["features"]) == report["features"]
    assert device["local_memory_bytes"] == 32768


def test_every_feature_of_a_plan_is_found_in_some_report() -> None:
    from toolkit.plan.schema import FEATURES

    assert {feature for report in REPORTS for feature in report["features"]} == set(FEATURES)
