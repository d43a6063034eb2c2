"""How long a plan takes to load: with nothing compiled yet, and with every program in the cache."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolkit.executor import Executor, open_executor

Opener = Callable[..., Executor]


def load_twice(
    plan_path: Path, on: str, cache: Path, options: dict[str, Any], opener: Opener = open_executor
) -> tuple[Executor, dict[str, Any]]:
    """The executor loaded with warm caches, and the figures of both loads.

    Cold and warm is meant of programs; the plan's files are in the system's page cache either way.
    The host executor shares this process's OpenCL, whose caches cannot be emptied: warm only.
    """
    if on != "runner":
        executor = opener(plan_path, on, **options)
        return executor, {"cold_s": None, "warm_s": executor.load_s}
    own = {**options, "cache": cache / "programs"}
    with driver_cache(cache / "driver"):
        cold = opener(plan_path, on, **own)
        cold.close()
        warm = opener(plan_path, on, **own)
    return warm, {"cold_s": cold.load_s, "warm_s": warm.load_s}


@contextmanager
def driver_cache(folder: Path) -> Iterator[None]:
    """Processes started here keep what the driver compiles in this folder (PoCL reads this)."""
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("POCL_CACHE_DIR")
    os.environ["POCL_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["POCL_CACHE_DIR"]
        else:
            os.environ["POCL_CACHE_DIR"] = before
