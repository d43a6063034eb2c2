"""Opens a plan of several texts on the executor of a name."""

from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.executors.batch.interface import BatchExecutor


def open_batch(plan_path: Path, on: str = "runner", **options: Any) -> BatchExecutor:
    """Load a plan of a batch, which may be one text, on the runner or on pyopencl."""
    for option in ("memory", "flash"):
        if options.pop(option, None) is not None:
            because = "plans of several texts have all weights in memory"
            raise PocketError(f"--{option} has no effect here", because, "leave it out")
    if on == "host":
        from toolkit.executors.batch.host import HostBatch  # pyopencl takes time to load

        return HostBatch(plan_path, **options)
    if on == "runner":
        from toolkit.executors.batch.runner import RunnerBatch

        return RunnerBatch(plan_path, **options)
    because = "batches run on runner and host"
    raise PocketError(f"no executor of batches is called {on!r:.40}", because, 'on="runner"')
