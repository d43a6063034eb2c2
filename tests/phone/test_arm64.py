"""The very program that is pushed to phones, on an arm64 system: what only it can show.

The tests share one device and what is compiled on it: the first to come pays. Answers are those of
the demo; how things go wrong is seen on a plan of two kernels, since qemu needs seconds for each.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from adb_server import AdbServer
from bigram import table, write_bigram
from commands import call, figures, sessions
from device import Device, arm64_device
from needed import absent
from phone_files import DATA
from rootfs import LOADER, OPENCL, phone_rootfs

from toolkit.compiler.pipeline import compile
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.executors.phone_target import PhoneTarget
from toolkit.generation.session import Session
from toolkit.phone.store import HOME
from toolkit.plan.load import load_plan

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
pytestmark = pytest.mark.slow
PROMPT = [0, 377, 379]
CONTEXT = 48  # under qemu each token of a test takes its time
IDS = ("--ids", "0,377,379", "--max-new-tokens", 12)


@pytest.fixture(scope="module", autouse=True)
def runner() -> Path:
    """Built as for any phone."""
    from toolkit.toolchain.android import build_android_runner, describe_toolchain

    if not describe_toolchain():
        absent("there is no NDK, and no package ziglang: pip install 'pocketcl[android]'")
    return build_android_runner()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with the kernels of phones' GPUs; half storage, float arithmetic."""
    path = tmp_path_factory.mktemp("plans") / "demo.plan"
    return compile(load_source(DEMO), path, device="generic", max_context=CONTEXT).path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan that looks the next id up, with 4 MB of weights."""
    path = tmp_path_factory.mktemp("plans") / "small.plan"
    write_bigram(path, table(), "sample")
    return path


@pytest.fixture
def empty_phone(arm64_phone: Device) -> Iterator[Device]:
    """The device with 256 MiB of storage that hold nothing."""
    arm64_phone.root.limit_storage(256 << 20)
    yield arm64_phone
    arm64_phone.root.restore_storage()


@pytest.fixture
def twin(adb: AdbServer, arm64_phone: Device, small: Path, tmp_path: Path) -> Iterator[Device]:
    """A second phone, with a copy of the first one's storage: the plan and what was compiled."""
    figures("run", small, "--on", "phone", *IDS)
    data = shutil.copytree(arm64_phone.root.locate(DATA), tmp_path / "data", symlinks=True)
    second = arm64_device(tmp_path / "second", Path(data), **{"ro.product.model": "Second"})
    second.start()
    adb.connect(second.serial)
    yield second
    second.stop()
    adb("disconnect", second.serial, check=False)


# --- answers -------------------------------------------------------------------------------------


def test_the_program_is_the_one_that_was_built(arm64_phone: Device, runner: Path) -> None:
    target = PhoneTarget(arm64_phone.serial)
    target.install_runner()
    pushed = arm64_phone.root.locate(HOME).glob("bin/*/pocketcl-runner")
    assert runner.read_bytes() in [path.resolve().read_bytes() for path in pushed]
    assert target.opencl()[0]["name"] == "pthread"


def test_tokens_are_the_desktops(arm64_phone: Device, plan: Path) -> None:
    here = figures("run", plan, *IDS)
    there = figures("run", plan, "--on", "phone", *IDS)
    assert there["ids"] == here["ids"] and there["text"] == here["text"]
    assert there["phone"]["serial"] == arm64_phone.serial
    arm64_phone.received.clear()
    assert figures("run", plan, "--on", "phone", *IDS)["ids"] == here["ids"]
    assert sum(arm64_phone.received.values()) == 0


def test_verify(arm64_phone: Device, plan: Path) -> None:
    found = figures("verify", plan, "--on", "phone")
    assert found["ok"] and all(case["top1_match"] == 1 for case in found["cases"])


def test_chat(arm64_phone: Device, plan: Path) -> None:
    command = [sys.executable, "-m", "toolkit", "chat", str(plan), "--on", "phone", "--json"]
    done = subprocess.run(
        [*command, "--max-new-tokens", "4"], input="A dog\nA cat\n", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["turn"] for line in done.stdout.splitlines()] == [1, 2]


def test_only_an_edited_kernel_is_copied(arm64_phone: Device, small: Path, tmp_path: Path) -> None:
    prepare(arm64_phone, small)
    arm64_phone.received.clear()
    edited = Path(shutil.copytree(small, tmp_path / "edited.plan"))
    kernel = edited / "kernels/look_up.cl"
    kernel.write_text(f"// another\n{kernel.read_text()}")
    here, there = figures("run", small, *IDS), figures("run", edited, "--on", "phone", *IDS)
    assert there["ids"] == here["ids"]
    assert (
        sum(arm64_phone.received.values()) == kernel.stat().st_size
        and there["phone"]["pushed_files"] == 1
    )


def test_bench_on_two_phones(arm64_phone: Device, twin: Device, small: Path) -> None:
    """Nothing is pushed to the second: it has all that the first one has."""
    assert "--serial" in call("run", small, "--on", "phone", *IDS).stderr
    options = ("--prompt-tokens", 8, "--new-tokens", 4, "--repeats", 2, "--json")
    done = call("bench", small, "--on", "phone", "--serial", "all", *options)
    found = {each["phone"]["serial"]: each for each in json.loads(done.stdout)}
    assert found.keys() == {arm64_phone.serial, twin.serial}
    for each in found.values():
        assert each["prefill_tokens_per_s"] > 0 and each["decode_tokens_per_s"] > 0, done.stdout
    first = found[arm64_phone.serial]
    assert first["executor"] == "phone" and first["phone"]["model"] == "PocketCL Loopback arm64"
    assert found[twin.serial]["phone"]["pushed_bytes"] == 0


# --- ends ----------------------------------------------------------------------------------------


def test_a_wrong_option(arm64_phone: Device, adb: AdbServer) -> None:
    """Exit code 2, and the usage on stderr."""
    PhoneTarget(arm64_phone.serial).install_runner()
    command = [adb.adb, "-s", arm64_phone.serial, "shell", f"{HOME}/bin/*/pocketcl-runner --no"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and "--cl-lib" in done.stderr


def test_killed(arm64_phone: Device, small: Path) -> None:
    with Session(small, "phone") as session:
        list(session.generate(PROMPT, 2))
        os.kill(sessions(arm64_phone)[0], signal.SIGKILL)
        with pytest.raises(PocketError) as error:
            list(session.generate([5], 3))
    assert "killed" in error.value.what and "exit code 137" in error.value.because
    assert "memory ran out" in error.value.because and "MiB are free" in error.value.because


def driver_of(phone: Device) -> Path:
    """Where the device has its OpenCL library, which is taken away."""
    path = phone.files.folder / OPENCL
    path.unlink()
    return path


@pytest.fixture
def driver(arm64_phone: Device) -> Iterator[Path]:
    """The place of the library that is gone for a while."""
    path = arm64_phone.files.folder / OPENCL
    ours = os.readlink(path)
    yield driver_of(arm64_phone)
    path.unlink(missing_ok=True)
    path.symlink_to(ours)


def build_driver(fault: str, driver: Path) -> None:
    source = Path(__file__).with_name("failing_driver.c")
    real = phone_rootfs() / LOADER / "libOpenCL.so.1"
    flags = ["-shared", "-fPIC", "-nostdlib", f"-Wl,-rpath,/{LOADER},--no-as-needed"]
    flags += ["-Wl,--allow-shlib-undefined"]
    words = ["aarch64-linux-gnu-gcc", f"-D{fault}", *flags, str(source), str(real)]
    subprocess.run([*words, "-o", str(driver)], check=True)


def test_a_driver_that_crashes_in_its_compiler(
    driver: Path, empty_phone: Device, small: Path
) -> None:
    """Only a child dies of it. The words say where: in which kernel."""
    build_driver("CRASH_IN_BUILD", driver)
    with pytest.raises(PocketError) as error:
        Session(small, "phone")
    text = str(error.value)
    assert "SIGSEGV" in text and "look_up" in text


def test_a_driver_that_crashes_at_a_launch(twin: Device, small: Path) -> None:
    """On a phone of its own: what was built stays there as bad for its driver."""
    build_driver("CRASH_IN_LAUNCH", driver_of(twin))
    with (
        pytest.raises(PocketError) as error,
        Session(small, "phone", serial=twin.serial) as session,
    ):
        list(session.generate(PROMPT, 2))
    assert "the OpenCL driver crashed while it was launching logits" in error.value.what
    assert "exit code 139" in error.value.because


def test_no_opencl(driver: Path, arm64_phone: Device, small: Path) -> None:
    with pytest.raises(PocketError) as error:
        Session(small, "phone")
    assert "OpenCL" in error.value.what and "libOpenCL" in error.value.because


def test_a_driver_without_memory(driver: Path, arm64_phone: Device, small: Path) -> None:
    build_driver("NO_MEMORY", driver)
    with pytest.raises(PocketError) as error:
        Session(small, "phone")
    assert "CL_MEM_OBJECT_ALLOCATION_FAILURE" in error.value.because
    assert "free memory" in error.value.hint


# --- storage and cable ---------------------------------------------------------------------------


def prepare(phone: Device, plan: Path) -> PhoneTarget:
    target = PhoneTarget(phone.serial)
    target.prepare(plan, load_plan(plan))
    return target


def test_unplugged_in_mid_push(adb: AdbServer, empty_phone: Device, small: Path) -> None:
    empty_phone.faults.unplug_after = 2 << 20
    with pytest.raises(PocketError, match="went away"):
        prepare(empty_phone, small)
    empty_phone.plug_in()
    adb.connect(empty_phone.serial)
    arrived = sum(empty_phone.received.values())
    empty_phone.received.clear()
    transfer = prepare(empty_phone, small).store.transfer
    assert sum(empty_phone.received.values()) == transfer.pushed_bytes
    assert transfer.skipped_files > 0  # the runner was there
    assert arrived + transfer.pushed_bytes < 2 * sum(file.stat().st_size for file in files(small))
    assert prepare(empty_phone, small).store.transfer.pushed_bytes == 0


def files(plan: Path) -> list[Path]:
    return [path for path in plan.rglob("*") if path.is_file()]


def test_too_little_storage(empty_phone: Device, small: Path) -> None:
    """Seen before anything is copied."""
    empty_phone.root.limit_storage(3 << 20)
    with pytest.raises(PocketError, match="too little storage"):
        prepare(empty_phone, small)


def test_storage_that_fills_in_mid_push(empty_phone: Device, small: Path) -> None:
    empty_phone.faults.full_after = 2 << 20
    with pytest.raises(PocketError) as error:
        prepare(empty_phone, small)
    assert "its storage is full" in error.value.because
    assert os.strerror(errno.ENOSPC) in error.value.because
    empty_phone.faults.full_after = None
    assert prepare(empty_phone, small).store.transfer.pushed_bytes > 0
