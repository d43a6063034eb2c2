"""A kernel as Clang's LLVM IR: what any GPU's compiler begins with, every call inlined.

Clang first only reads the kernel, then optimises what is told to be movable.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator

from opencl_kernels import Kernel
from opencl_kernels.case import Case
from opencl_kernels.kernel import Knobs, source_text
from toolkit.errors import PocketError

VARIABLE = "POCKETCL_CLANG"
TESTED = (14, 15)
COMPILERS = (  # what `clang` is on a machine may be too new, or Apple's
    *(f"clang-{version}" for version in TESTED),
    "clang",
    *(f"clang-{version}" for version in range(TESTED[-1] + 1, 24)),
)
DEFAULT = "-cl-std=CL1.2"  # as drivers take it where no option says otherwise
COMMON = ("-target", "spir64", "-O2", "-w", "-S", "-emit-llvm", "-o", "-")
FIRST = (
    *(*COMMON, "-Xclang", "-finclude-default-header", "-Xclang", "-disable-llvm-passes"),
    # What Clang's header declares for those that ask; in CL1.2 they are extensions.
    *("-Dcl_khr_subgroups=1", "-Dcl_khr_subgroup_shuffle=1"),
)
SECOND = (*COMMON, "-mllvm", "-inline-threshold=1000000", "-x", "ir", "-")
PASSES = 2  # after the first one arrays whose loops it has unrolled still lie in memory
PURE = re.compile(r"^attributes #\d+ = \{.*\b(readnone|readonly|memory\((none|read))\b.*$", re.M)
VERSIONS = f"{' and '.join(map(str, TESTED))} are tested"
HINT = f"apt-get install clang-{TESTED[0]}, or name a Clang in {VARIABLE}: {VERSIONS}"


def find_clang() -> str | None:
    """A Clang of this machine: what POCKETCL_CLANG names, else a tested version if it's here."""
    given = os.environ.get(VARIABLE)
    return next(filter(None, map(shutil.which, [given] if given else COMPILERS)), None)


def kernel_ir(kernel: Kernel, case: Case, knobs: Knobs) -> str:
    """The module of a kernel, made for a case; raises where Clang is missing or fails."""
    from opencl_kernels.launch import all_defines, program_text

    compiler = find_clang()
    if compiler is None:
        given = os.environ.get(VARIABLE)
        missing = f"{VARIABLE} names {given}, which is no program" if given else "none is here"
        because = f"they are read from what Clang makes of a kernel, and {missing}"
        raise PocketError("kernels cannot be counted here", because, HINT)
    text = program_text(source_text(kernel.source), all_defines(kernel, case, knobs))
    plain = _run(kernel, [compiler, *FIRST, *_standard(kernel), "-x", "cl", "-"], text)
    text = PURE.sub(_movable, plain)
    for _ in range(PASSES):
        text = _run(kernel, [compiler, *SECOND], text)
    return text


def _movable(attributes: re.Match[str]) -> str:
    """Of functions that only compute: Clang keeps any of OpenCL's inside its loop, GPUs do not."""
    return attributes[0].replace("convergent ", "")


def _run(kernel: Kernel, command: list[str], text: str) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        what = f"{kernel.name} cannot be counted"
        raise PocketError(what, f"{command[0]} fails: {_first_error(done.stderr)}", HINT)
    return done.stdout


def _standard(kernel: Kernel) -> Iterator[str]:
    """A kernel's own options, with the language's version."""
    yield from kernel.options
    if not any(option.startswith("-cl-std") for option in kernel.options):
        yield DEFAULT


def _first_error(text: str) -> str:
    found = re.search(r"^.*error:.*$", text, re.M)
    return found[0] if found else text.strip()[:200]
