"""The OpenCL library that a runner on this computer loads, and the drivers that it finds."""

import ctypes
import hashlib
import importlib.util
import os
from functools import cache
from pathlib import Path

from toolkit.files import fill_once
from toolkit.paths import cache_dir

VENDORS = Path("/etc/OpenCL/vendors")


@cache
def find_opencl() -> Path | None:
    """The OpenCL loader for the runner: the system's, else the one inside pyopencl's wheel."""
    for name in ("libOpenCL.so.1", "libOpenCL.so"):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return Path(name)
    return next(iter(_bundled("libOpenCL*.so*")), None)


def runner_environment() -> dict[str, str]:
    """The environment in which the runner finds the drivers that pyopencl finds."""
    found, drivers = dict(os.environ), _bundled("*.icd")
    if package := _pyopencl():
        found["PYOPENCL_HOME"] = str(package)  # its loader crashes if this is unset
    if drivers and not _system_drivers():
        found["OCL_ICD_VENDORS"] = str(_vendors_folder(drivers))
    return found


def _system_drivers() -> bool:
    """Whether the loader finds drivers by itself: .icd files, or a library that the user names."""
    vendors = Path(os.environ.get("OCL_ICD_VENDORS") or VENDORS)
    if vendors.is_dir():
        return any(vendors.glob("*.icd"))
    return vendors.is_file() or "OCL_ICD_FILENAMES" in os.environ


def _vendors_folder(drivers: list[Path]) -> Path:
    """A folder of .icd files with absolute paths; those of a wheel have only a library's name."""
    lines = {icd.name: str(icd.parent / icd.read_text().strip()) for icd in drivers}
    key = hashlib.sha256(repr(sorted(lines.items())).encode()).hexdigest()[:16]
    folder = cache_dir() / f"icd-{key}"

    def fill(temporary: Path) -> None:
        for name, line in lines.items():
            (temporary / name).write_text(line + "\n")

    fill_once(folder, fill)
    return folder


def _bundled(pattern: str) -> list[Path]:
    package = _pyopencl()
    return sorted((package / ".libs").glob(pattern)) if package else []


def _pyopencl() -> Path | None:
    spec = importlib.util.find_spec("pyopencl")  # looked up, not imported
    return Path(spec.origin).parent if spec and spec.origin else None
