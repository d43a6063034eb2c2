"""Which device is chosen: one table of devices for Python and for the runner."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

import pytest
from native import DRIVERS, with_library

from toolkit.devices.rank import is_named, rank_of

Device = tuple[str, str, str, str]  # platform, CPU or not, driver, name
POCL = ("Portable Computing Language", "cpu", "3.1+debian", "pthread-skylake")
NEWER = ("Portable Computing Language", "cpu", "6.0", "cpu-skylake")
INTEL = ("Intel(R) OpenCL", "cpu", "2024.18.6", "Xeon")
ADRENO = ("QUALCOMM Snapdragon(TM)", "gpu", "OpenCL 3.0 QUALCOMM build: 0615.65", "Adreno 740")
CHECKER = ("Oclgrind", "cpu", "Oclgrind 21.10", "Oclgrind Simulator")
NAMELESS = ("Somebody", "gpu", "unknown", "a device")


def in_python(devices: Sequence[Device], wanted: str, kind: str) -> int:
    fitting = [d for d in devices if is_named(f"{d[0]}, {d[3]}", wanted)]
    if not fitting:
        return -1
    best = max(fitting, key=lambda d: rank_of(d[0], d[1] == "cpu", d[2], kind == "cpu"))
    return list(devices).index(best)


def in_the_runner(devices: Sequence[Device], wanted: str, kind: str) -> int:
    lines = "".join("\t".join(device) + "\n" for device in devices)
    program = with_library("device_rank_drive", DRIVERS / "device_rank_drive.cpp")
    command = [program, wanted, kind]
    return int(subprocess.run(command, input=lines, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("choose", [in_python, in_the_runner])
@pytest.mark.parametrize(
    "devices, wanted, kind, best",
    [
        ([POCL], "", "cpu", POCL),
        ([POCL], "", "gpu", POCL),
        ([ADRENO, POCL], "", "cpu", POCL),
        ([POCL, ADRENO], "", "gpu", ADRENO),
        ([POCL, NEWER], "", "cpu", NEWER),
        ([NEWER, POCL], "", "cpu", NEWER),
        ([POCL, NEWER], "PTHREAD", "cpu", POCL),
        ([POCL, ADRENO], "portable", "gpu", POCL),
        ([CHECKER, POCL], "", "cpu", POCL),
        ([CHECKER, POCL], "", "gpu", POCL),
        ([CHECKER, POCL], "oclgrind", "cpu", CHECKER),
        ([NAMELESS, POCL], "", "gpu", NAMELESS),
        ([POCL, INTEL], "", "cpu", INTEL),
        ([POCL, POCL], "", "cpu", POCL),
        ([POCL, ADRENO], "mali", "gpu", None),
        ([], "", "cpu", None),
    ],
)
def test_the_best_device(
    choose: Callable[..., int],
    devices: list[Device],
    wanted: str,
    kind: str,
    best: Device | None,
) -> None:
    assert choose(devices, wanted, kind) == (devices.index(best) if best else -1)
