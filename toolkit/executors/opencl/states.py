"""Text and states of a model on the device, from a file and to it (toolkit/plan/state_file.py)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.executors.history import History
from toolkit.executors.opencl.phases import PhaseExecutor
from toolkit.plan import state_file


def save(
    path: Path,
    phases: PhaseExecutor,
    digest: str,
    history: History,
    past: int,
    note: Mapping[str, Any],
) -> None:
    """Write the first `past` positions."""

    def read(buffer: int, offset: int, count: int) -> bytes:
        name = phases.plan.buffers[buffer].name
        return phases.read(name, "u8", [count], offset).tobytes()

    state_file.save(path, phases.plan, digest, history.first(past), history.reached, note, read)


def load(path: Path, phases: PhaseExecutor, digest: str, history: History) -> int:
    """Take them; return the file's `past`."""
    saved = state_file.load(path, phases.plan, digest)
    phases.write("ids", np.array(saved.ids, np.int32))
    for buffer, offset, content in saved.pieces():
        rows = np.frombuffer(content, np.uint8)
        phases.write(phases.plan.buffers[buffer].name, rows, offset)
    history.restore(saved.ids, saved.reached)
    return saved.past
