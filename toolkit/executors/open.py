"""Opens a plan on the executor that is asked for."""

from pathlib import Path
from typing import Any, cast

from toolkit.errors import PocketError
from toolkit.executors.interface import Executor


def open_executor(plan_path: Path, on: str = "runner", **options: Any) -> Executor:
    """Load a plan on the C++ runner, here or on a phone, or on pyopencl (`on="host"`).

    serial  which phone; by default the only one there is
    """
    if on == "runner":
        from toolkit.executors.runner import RunnerExecutor

        return cast(Executor, RunnerExecutor(plan_path, **options))
    if on == "phone":
        from toolkit.executors.phone_target import OnPhone
        from toolkit.executors.runner import RunnerExecutor

        place = OnPhone(options.pop("serial", None))
        return cast(Executor, RunnerExecutor(plan_path, place=place, **options))
    if on == "host":
        from toolkit.executors.host import HostExecutor

        return HostExecutor(plan_path, **options)
    known = "runner, host and phone are known"
    raise PocketError(f"no executor is called {on!r:.40}", known, '--on host; on="host"')


def on_phone(executor: object) -> dict[str, Any]:
    """{"phone": …}: which phone it is and what was copied to it; nothing where it runs here."""
    figures = getattr(getattr(executor, "place", None), "figures", None)
    return {"phone": figures()} if figures else {}
