"""What is wrong with a phone is said in words, before anything large is copied to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from device import Device, Make
from flash_toy import FlashToy

from toolkit.cli import doctor_phone
from toolkit.devices import resolve as devices
from toolkit.errors import PocketError
from toolkit.executors.open import open_executor
from toolkit.executors.phone_target import check_class
from toolkit.offload.points import choose_point, least_memory
from toolkit.phone.about import DRIVER_BYTES, about
from toolkit.phone.adb import find_phone
from toolkit.phone.layout import HOME
from toolkit.phone.runner import parse_devices
from toolkit.plan.figures import memory
from toolkit.plan.load import load_plan

ARM64 = {"ro.product.cpu.abi": "arm64-v8a"}
LOADER = "/usr/lib/x86_64-linux-gnu/libOpenCL.so.1"


def refused(plan: Path) -> PocketError:
    with pytest.raises(PocketError) as error:
        open_executor(plan, "phone")
    return error.value


def meminfo(device: Device, available: int) -> None:
    text = f"MemTotal:       8000000 kB\nMemFree:         100000 kB\nMemAvailable: {available} kB\n"
    device.root.replace("/proc/meminfo", text)


def pushed(device: Device) -> int:
    return sum(device.received.values())


@pytest.fixture
def arm64(make_phone: Make, own_runner: Path) -> Device:
    return make_phone("phone", **ARM64)


def test_what_a_phone_is(make_phone: Make) -> None:
    device = make_phone(
        "phone",
        **{
            "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a",
            "ro.product.manufacturer": "Maker",
            "ro.product.model": "Model 1",
            "ro.soc.model": "SM8650",
        },
    )
    meminfo(device, 3_000_000)
    gles = "GLES: Qualcomm, Adreno (TM) 750, OpenGL ES 3.2 V@0762.10 (GIT@1)"
    device.files.set_service("SurfaceFlinger", f"Layers\n{gles}\nmore\n")
    found = about(find_phone())
    assert (found.model, found.soc, found.api, found.android) == (
        "Maker Model 1",
        "SM8650",
        34,
        "14",
    )
    assert found.abis == ("arm64-v8a", "armeabi-v7a")
    assert (found.gpu, found.driver) == ("Adreno (TM) 750", "3.2 V@0762.10 (GIT@1)")
    assert (found.memory_bytes, found.available_bytes) == (8_192_000_000, 3_072_000_000)
    listed = devices.phones()[0]
    assert listed["profile"] == "snapdragon-8-gen-3" and listed["gpu"] == "Adreno (TM) 750"
    line = next(line for line in devices.lines(devices.overview()) if device.serial in line)
    assert "SM8650" in line and "Android 14" in line and "snapdragon-8-gen-3" in line


def test_an_older_android_names_its_board(make_phone: Make) -> None:
    make_phone("phone", **{"ro.soc.model": "", "ro.board.platform": "kalama"})
    assert about(find_phone()).soc == "kalama"


@pytest.mark.parametrize(
    "properties, what, because",
    [
        ({"ro.product.cpu.abi": "armeabi-v7a"}, "can't run it", "armeabi-v7a"),
        ({**ARM64, "ro.build.version.sdk": "25", "ro.build.version.release": "7.1"}, "old", "7.1"),
    ],
)
def test_a_system_that_is_too_old(
    make_phone: Make,
    own_runner: Path,
    demo: Path,
    properties: Mapping[str, str],
    what: str,
    because: str,
) -> None:
    device = make_phone("phone", **properties)
    error = refused(demo)
    assert what in error.what and because in error.because and error.hint
    assert pushed(device) == 0


def test_too_little_memory(arm64: Device, demo: Path) -> None:
    meminfo(arm64, 60_000)
    error = refused(demo)
    assert "too little memory" in error.what and "--max-context" in error.hint
    assert "weights 4" in error.because and "59 MiB are free" in error.because
    assert pushed(arm64) == 0


def test_slots_count_as_the_run_has_them(warm_phone: Device, tmp_path: Path) -> None:
    """What a plan with weights in flash takes is what its point has room for."""
    toy = FlashToy(tmp_path / "flash toy")
    plan = load_plan(toy.folder)
    need = sum(memory(plan, choose_point(plan, 100_000)).values()) + DRIVER_BYTES
    meminfo(warm_phone, need // 1024 + 1)
    error = refused(toy.folder)
    assert "too little memory" in error.what and "--memory" in error.hint
    assert "slots 0" in error.because and "staging 0" in error.because
    open_executor(toy.folder, "phone", memory=100_000).close()
    meminfo(warm_phone, need // 1024 - 1)
    with pytest.raises(PocketError, match="too little memory"):
        open_executor(toy.folder, "phone", memory=100_000)
    least = sum(memory(plan, choose_point(plan, least_memory(plan))).values()) + DRIVER_BYTES
    assert least < need  # as much as a run takes that follows the system, at least
    meminfo(warm_phone, least // 1024 + 1)
    open_executor(toy.folder, "phone", memory="auto").close()
    meminfo(warm_phone, least // 1024 - 1)
    with pytest.raises(PocketError, match="too little memory"):
        open_executor(toy.folder, "phone", memory="auto")


def test_tight_memory_is_noted(
    warm_phone: Device, demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meminfo(warm_phone, 80_000)
    open_executor(demo, "phone").close()
    assert "memory will be tight" in capsys.readouterr().err


def test_too_little_storage(arm64: Device, demo: Path) -> None:
    arm64.root.limit_storage(66 * 2**20)
    error = refused(demo)
    assert "too little storage" in error.what and "phone clean" in error.hint
    assert pushed(arm64) == 0


def test_no_opencl(arm64: Device, own_runner: Path, demo: Path) -> None:
    """Found by the runner, before the plan is copied."""
    arm64.root.replace(LOADER, "")
    error = refused(demo)
    assert "has no OpenCL that the runner can use" in error.what
    assert pushed(arm64) == own_runner.stat().st_size
    checks = {check.name: check for check in doctor_phone.phone_checks(arm64.serial)}
    assert checks["phone"].ok and not checks["opencl"].ok and checks["opencl"].needed


def test_a_library_without_devices() -> None:
    with pytest.raises(PocketError, match="no OpenCL device"):
        parse_devices('{"library": "libOpenCL.so", "devices": []}\n', "Phone")
    with pytest.raises(PocketError, match="doesn't work"):
        parse_devices("Segmentation fault", "Phone")


def test_a_plan_for_another_gpu_is_noted(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = load_plan(demo)
    adreno = {"platform": "QUALCOMM Snapdragon(TM)", "name": "QUALCOMM Adreno(TM) 750"}
    check_class(plan, [{**adreno, "driver": "OpenCL 3.0"}], "Phone")
    said = capsys.readouterr().err
    assert "compiled for cpu" in said and "--device phone" in said and "750" in said
    pocl = {"platform": "Portable Computing Language", "name": "pthread", "driver": "3.1"}
    check_class(plan, [pocl], "Phone")
    assert capsys.readouterr().err == ""


def test_compile_for_the_phone(arm64: Device, own_runner: Path) -> None:
    arm64.files.set_properties({"ro.soc.model": "SM8650"})
    profile = devices.resolve_device("phone")
    assert (profile["name"], profile["class"]) == ("snapdragon-8-gen-3", "adreno")
    found: dict[str, Any] = devices.resolve_device("pocl")
    assert profile["features"] == [f for f in profile["features"] if f != "fp16"], found
    with pytest.raises(PocketError, match="no phone has"):
        devices.resolve_device("phone", "other")


def test_doctor_looks_at_the_phone(arm64: Device) -> None:
    checks = {check.name: check for check in doctor_phone.phone_checks()}
    assert list(checks) == ["adb", "phone"]
    assert all(check.ok and not check.needed for check in checks.values())
    checks = {check.name: check for check in doctor_phone.phone_checks(arm64.serial)}
    assert list(checks) == ["adb", "phone", "opencl"]
    assert all(check.ok for check in checks.values())
    assert arm64.serial in checks["phone"].detail and "storage free" in checks["opencl"].detail
    missing = list(doctor_phone.phone_checks("nobody"))
    assert not missing[-1].ok and missing[-1].needed and "USB debugging" in missing[-1].remedy
    assert find_phone().shell(f"ls {HOME}/bin") != ""


def test_a_runner_that_is_missing(
    arm64: Device, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETCL_PHONE_RUNNER", "/nowhere/runner")
    assert "POCKETCL_PHONE_RUNNER" in refused(demo).because
