"""The peak memory of this process, and what the system has left."""

import resource
from pathlib import Path


def available() -> int | None:
    """MemAvailable in bytes: what can be had without swapping; None where the system tells none."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(next(found)) * 1024
    except (OSError, StopIteration):
        return None


def peak_rss() -> int:
    """VmHWM in bytes; without /proc, the ru_maxrss of getrusage."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
