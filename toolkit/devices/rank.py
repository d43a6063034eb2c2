"""Which of several OpenCL devices is the one to run on.

The runner has the same rules (android_runner/opencl/device_rank.cpp); one table of devices is held
against both.
"""

import re

COMPARED = 2  # numbers of a version: builds of one version are alike
CHECKER = "Oclgrind"  # runs only where it is named


def is_named(name: str, wanted: str) -> bool:
    """Whether a device is meant by part of its name, whatever the case; `name` has the platform."""
    return wanted.lower() in name.lower()


def rank_of(
    platform: str, is_cpu: bool, driver: str, for_cpu: bool
) -> tuple[bool, bool, list[int]]:
    """The greatest is the best: no checker, of the wanted kind, with the newest driver."""
    version = [int(number) for number in re.findall(r"\d+", driver, re.ASCII)[:COMPARED]]
    return platform != CHECKER, is_cpu == for_cpu, version
