"""Opens a plan on the executor that is asked for."""

from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.executors.interface import Executor


def open_executor(plan_path: Path, on: str = "runner", **options: Any) -> Executor:
    """Load a plan on the C++ runner, here or on a phone, or on pyopencl (`on="host"`).

    serial  which phone; by default the only one there is
    """
    if on == "runner":
        from toolkit.executors.runner import RunnerExecutor

        return RunnerExecutor(plan_path, **options)
    if on == "phone":
        from toolkit.executors.phone_target import PhoneTarget
        from toolkit.executors.runner import RunnerExecutor

        target = PhoneTarget(options.pop("serial", None))
        return RunnerExecutor(plan_path, target=target, **options)
    if on == "host":
        from toolkit.executors.host import HostExecutor

        return HostExecutor(plan_path, **options)
    known = "runner, host and phone are known"
    raise PocketError(f"no executor is called {on!r:.40}", known, '--on host; on="host"')
