"""Where candidates are measured: on this computer, or on a phone."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from toolkit.devices.profiles import match, profiles
from toolkit.executors.open import open_executor
from toolkit.paths import PLAN_FILE, cache_dir
from toolkit.plan.schema import Plan
from toolkit.tuning.journal import Journal

Opener = Callable[..., Any]


class BackEnd(Protocol):
    """Opens candidates, and knows the device that they run on."""

    together: int | None  # candidates that are loaded beside the current choice; None: all

    def open(self, folder: Path, programs: Path) -> Any:
        """An executor that takes kernel times."""

    def profile_of(self, executor: Any) -> str:
        """The profile of the device that it runs on."""

    def journal(self, path: Path, plan: Plan, *asked: Any) -> Journal:
        """Where what was measured is kept until the search is complete."""


class Here:
    """The runner on this computer."""

    together: int | None = None

    def __init__(self, opener: Opener = open_executor) -> None:
        self._opener = opener

    def open(self, folder: Path, programs: Path) -> Any:
        """An executor that takes kernel times."""
        return self._opener(folder, "runner", profile=True, cache=programs)

    def profile_of(self, executor: Any) -> str:
        """By the names of its OpenCL device."""
        return match(executor.ready["platform"], executor.ready["device"], profiles())

    def journal(self, path: Path, plan: Plan, *asked: Any) -> Journal:
        """None: nothing is lost here but time."""
        return Journal(None)


class OnPhone:
    """The runner on a phone, whose memory holds weights twice at most."""

    together: int | None = 1

    def __init__(self, serial: str | None = None) -> None:
        self._serial = serial

    def open(self, folder: Path, programs: Path) -> Any:
        """An executor that takes kernel times; its programs stay on the phone."""
        return open_executor(folder, "phone", profile=True, serial=self._serial)

    def profile_of(self, executor: Any) -> str:
        """By its SoC and GPU, as `compile --device phone` finds it."""
        from toolkit.devices.resolve import profile_of

        ready = executor.ready
        gpu = f"{ready['device']}, {ready['platform']}"
        return profile_of(executor.target.about.soc, gpu, ready["driver"])

    def journal(self, path: Path, plan: Plan, *asked: Any) -> Journal:
        """Of this plan on this phone, its driver and what was asked for."""
        from toolkit.phone.runner import PhoneRunner

        runner = PhoneRunner(self._serial)
        runner.install_runner()
        device = runner.opencl()[0]
        named = [runner.phone.serial, device["name"], device["driver"], *asked]
        text = (path / PLAN_FILE).read_bytes() + repr(named).encode()
        return Journal(cache_dir() / "tuning" / f"{hashlib.sha256(text).hexdigest()[:24]}.json")
