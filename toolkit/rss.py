"""The peak memory of this process."""

import resource
from pathlib import Path


def peak_rss() -> int:
    """VmHWM in bytes; without /proc, the ru_maxrss of getrusage."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
