"""`ld`: c++ makes the runner with it, and PoCL what it compiles."""

import os
import shutil

from toolkit.errors import PocketError

REMEDY = "apt-get install binutils, and check that PATH has the folder of `ld`"


def find_linker() -> str | None:
    """`ld` as PoCL finds it: on the PATH, and nowhere where that is not set."""
    return shutil.which("ld") if os.environ.get("PATH") else None


def check_linker(platform: str) -> None:
    """Raise where this OpenCL platform is PoCL, which aborts the process that has no `ld`."""
    if "Portable" in platform and find_linker() is None:
        because = "it links them with `ld`, which is not on the PATH"
        raise PocketError("PoCL cannot build kernels here", because, REMEDY)
