"""Whether ONNX Runtime can hold a model here, beside whatever else runs."""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import onnx_ir as ir

from toolkit.onnx_runtime import Refused
from toolkit.tables import size

COPIES = 3  # of the weights in memory: as a file, as it is read, and packed for its products
FLOAT = 4  # bytes: halves are made floats
HINT = "pass --calibrate off, or compile on a computer with more memory"


def check_room(model: ir.Model) -> None:
    """Raise unless the model's weights fit into free memory, and into a file for temporary data."""
    weights = [each.const_value for each in model.graph.initializers.values()]
    wanted = sum(max(each.nbytes, FLOAT * each.size) for each in weights if each is not None)
    folder = tempfile.gettempdir()
    for what, need, free in (
        ("memory", COPIES * wanted, free_memory()),
        (f"{folder}", wanted, shutil.disk_usage(folder).free),
    ):
        if need > free:
            because = f"ONNX Runtime needs about {size(need)} of {what}, {size(free)} are free"
            raise Refused("the model's values cannot be measured", because, HINT)


def free_memory() -> int:
    """Bytes that a new program may take without ending others; where nobody says it, no limit."""
    facts = Path("/proc/meminfo")
    if facts.exists():
        found = re.search(r"^MemAvailable: +(\d+) kB", facts.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    if sys.platform != "win32":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return sys.maxsize
