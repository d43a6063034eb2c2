"""PoCL compiles programs with the declarations that they name, in place of all that it has, and
reads of its library of functions what they call.

Tests compile thousands of small kernels, in processes of many kinds; CI compiles all kernels as
users get them, too.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from opencl_header import Header

ICD = Path("/etc/OpenCL/vendors/pocl.icd")
HEADER = Path("/usr/share/pocl/include/opencl-c.h")
DRIVER = "libpocl.so.2.10.0"  # PoCL 3.1, which reads this header in the way that this relies on
LLVM = "libLLVM-15.so.1"  # with which Debian builds it


def applies() -> bool:
    """Whether the loader finds that PoCL, and a compiler for what stands before it is there."""
    if "OCL_ICD_VENDORS" in os.environ or not (HEADER.exists() and shutil.which("c++")):
        return False
    return ICD.exists() and DRIVER in ICD.read_text()


def environment() -> dict[str, str]:
    """Variables with which every process finds PoCL behind `brief_pocl.cpp`."""
    from native import DRIVERS, build

    sources = [DRIVERS / "brief_pocl.cpp"]
    if platform.machine() == "x86_64" and list(Path("/usr/lib").glob(f"*/{LLVM}")):
        sources.append(DRIVERS / "lazy_library.cpp")
    driver = build("brief_pocl.so", sources, "-shared", "-O1", f'-DPOCL="{DRIVER}"')
    words = driver.with_name("declarations")
    words.write_text(_lines(Header(HEADER)))
    folder = driver.with_name("vendors")
    folder.mkdir(exist_ok=True)
    (folder / "pocl.icd").write_text(f"{driver}\n")
    return {"OCL_ICD_VENDORS": str(folder), "POCKETCL_BRIEF": str(words)}


def _lines(header: Header) -> str:
    """A line for each declaration: its text, a tab, the words that call for it."""
    words = header.words()
    lines = (part.replace("\\\n", " ").replace("\n", " ") for part in header.parts)
    chosen = {number for number in header.always} | words.keys()
    return "".join(
        f"{line}\t{' '.join(sorted(words.get(number, ())))}\n"
        for number, line in enumerate(lines)
        if number in chosen
    )
