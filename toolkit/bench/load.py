"""How long a plan takes to load: with nothing compiled yet, and with every program in the cache."""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor

Opener = Callable[..., Executor]


def load_twice(
    plan_path: Path, on: str, cache: Path, options: dict[str, Any], opener: Opener = open_executor
) -> tuple[Executor, dict[str, Any]]:
    """The executor loaded with warm caches, and the figures of both loads.

    Cold and warm refer to compiled programs; the plan's files are in the page cache either way.
    The host executor shares this process's OpenCL, whose caches cannot be emptied: warm only.
    """
    with compiling_into(cache, on, options) as own:
        cold = opener(plan_path, on, **own)
        if on == "host":
            return cold, {"cold_s": None, "warm_s": cold.load_s}
        cold.close()
        warm = opener(plan_path, on, **own)
    return warm, {"cold_s": cold.load_s, "warm_s": warm.load_s}


@contextmanager
def empty_cache(on: str, serial: str | None = None) -> Iterator[Path]:
    """A temporary folder for compiled programs on the machine where the plan runs."""
    if on != "phone":
        with tempfile.TemporaryDirectory(prefix="pocketcl-") as folder:
            yield Path(folder)
        return
    from toolkit.phone.adb import find_phone
    from toolkit.phone.layout import HOME

    folder = f"cold/{uuid.uuid4().hex}"
    try:
        yield Path(folder)
    finally:
        with suppress(PocketError):  # phone disconnected: `phone clean` removes the folder
            find_phone(serial).run(f"rm -rf {HOME}/{folder}")


@contextmanager
def compiling_into(cache: Path, on: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Options that make an executor cache its programs in `cache`; the host executor has none."""
    own = options if on == "host" else {**options, "cache": cache / "programs"}
    with driver_cache(cache / "driver") if on == "runner" else nullcontext():
        yield own


@contextmanager
def driver_cache(folder: Path) -> Iterator[None]:
    """Child processes let the driver cache compiled programs here (PoCL reads this variable)."""
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
