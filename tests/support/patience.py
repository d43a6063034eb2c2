"""Waiting for what another process or thread does: with an end, and a word for what never came."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

SECONDS = 60  # nothing here takes one; a busy machine may


def wait_for(happened: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Return once it has happened; the test fails with these words where it never does."""
    end = time.monotonic() + seconds
    late = False
    while not happened():
        if late:  # asked once more after the end: this process may have stood still, too
            pytest.fail(f"waited {seconds} s in vain: {what}")
        time.sleep(0.01)
        late = time.monotonic() > end


def wait_for_end(pid: int) -> None:
    """Return once there is no such process."""
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), f"process {pid} was to end")
