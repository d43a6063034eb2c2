"""Runs a command where Intel's OpenCL runtime for CPUs, from PyPI, is the driver.

    python tests/kernels/intel_runtime.py pytest tests/kernels -k "not _cpu"
    python tests/kernels/intel_runtime.py pocketcl verify model.plan --on host

It compiles what PoCL doesn't: half arithmetic, sub-groups, integer dot products; and it is strict
where PoCL is not. The runtime is installed once, with pip, beside PocketCL's caches (800 MB).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

from toolkit.paths import cache_dir

WHEELS = ("intel-opencl-rt==2026.2.0", "intel-cmplr-lib-rt==2026.2.0")
PLATFORM = "Intel(R) OpenCL"
# Its compiler dies or hangs in this pass one time in ten: a map of maps grows while it is held.
WITHOUT = "-opt-disable=sycl-kernel-reduce-cross-barrier-values"


def installed() -> Path:
    """The runtime's folder; installs it where it isn't there."""
    folder = cache_dir() / "tests" / "-".join(WHEELS).replace("==", "-")
    if not (folder / "intel.icd").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            made = install(Path(scratch) / "runtime", folder)
            shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
            made.rename(folder)
    return folder


def install(made: Path, final: Path) -> Path:
    """The wheels in an environment of their own, and the name of the driver where it will be."""
    venv.create(made)
    pip = [sys.executable, "-m", "pip", "--python", str(made / "bin/python"), "install", "-q"]
    done = subprocess.run([*pip, *WHEELS], capture_output=True, text=True)
    if done.returncode or not (made / "lib/libintelocl.so").exists():
        sys.exit(f"error: {' and '.join(WHEELS)} cannot be installed\n{done.stderr.strip()}")
    (made / "intel.icd").write_text(f"{final}/lib/libintelocl.so\n")
    return made


def environment(runtime: Path, before: Mapping[str, str]) -> dict[str, str]:
    """The variables with which OpenCL's loaders find the runtime, and PocketCL takes it."""
    paths = [str(runtime / "lib"), before.get("LD_LIBRARY_PATH", "")]
    return {
        **before,
        "OCL_ICD_VENDORS": str(runtime),  # a folder with one .icd
        "LD_LIBRARY_PATH": ":".join(filter(None, paths)),
        "POCKETCL_PLATFORM": PLATFORM,
        "CL_CONFIG_LLVM_OPTIONS": WITHOUT,
        "PATH": f"{Path(sys.executable).parent}:{before.get('PATH', '')}",
    }


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    found = environment(installed(), os.environ)
    try:
        os.execvpe(sys.argv[1], sys.argv[1:], found)
    except OSError as error:
        sys.exit(f"error: {sys.argv[1]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main()
