"""`ld`, which c++ needs to link the runner, and PoCL to link kernels."""

import os
import shutil

from toolkit.errors import PocketError

REMEDY = "apt-get install binutils, and check that PATH has the folder of `ld`"


def find_linker() -> str | None:
    """`ld` as PoCL finds it: on the PATH only, which may be unset."""
    return shutil.which("ld") if os.environ.get("PATH") else None


def check_linker(platform: str) -> None:
    """Raise if this OpenCL platform is PoCL and there is no `ld`: PoCL would abort the process."""
    if "Portable" in platform and find_linker() is None:
        because = "PoCL links them with `ld`, which is not on the PATH"
        raise PocketError("PoCL cannot build kernels here", because, REMEDY)
