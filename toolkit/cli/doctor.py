"""What is missing here, and the command that installs or repairs it."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from toolkit.cli.checks import Check
from toolkit.devices import opencl
from toolkit.devices.profiles import faults_of
from toolkit.own_files import make_own_folder, weakness
from toolkit.paths import cache_home
from toolkit.toolchain.linker import find_linker

POCL_DEBIAN = "apt-get install pocl-opencl-icd"
UNKNOWN_CPU = "unknown target CPU"  # LLVM 14 in PyPI's PoCL 3.0 rejects newer processors so
POCL_PYPI = "pip install 'pocketcl[desktop]'"


def report(
    serial: str | None = None, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """What `pocketcl doctor` reports; with a serial also what this phone lacks."""
    from toolkit.cli.doctor_phone import phone_checks

    found = []
    for check in (*checks(), *phone_checks(serial)):
        progress(f"checked: {check.name}")
        found.append(asdict(check))
    return {"checks": found}


def lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """The report for people; the commands to run come last."""
    for check in found:
        mark = "ok" if check["ok"] else "MISSING" if check["needed"] else "-"
        yield f"{mark:<8}{check['name']:<10}{check['detail']}"
    remedies = [check for check in found if check["remedy"]]
    if remedies:
        yield ""
    for check in remedies:
        need = "" if check["ok"] or not check["needed"] else "   (needed)"
        yield f"{check['name']:<10}{check['remedy']}{need}"


def checks() -> Iterator[Check]:
    """Every check, in the order in which to repair things."""
    yield _python()
    yield from _packages()
    yield from _opencl()
    yield _linker()
    yield _launch()
    yield _compiler()
    yield _cache()
    yield _android()


def try_launch() -> None:
    """Build and run one kernel on the best device; drivers may abort: call it in a process."""
    import numpy as np
    import pyopencl as cl

    wanted = opencl.best_device() or {}
    devices = [d for p in cl.get_platforms() for d in p.get_devices()]
    device = next(d for d in devices if (d.name, d.driver_version) == _key(wanted))
    context = cl.Context([device])
    queue = cl.CommandQueue(context)
    source = "__kernel void twice(__global float *x) { x[get_global_id(0)] *= 2; }"
    host = np.arange(16, dtype=np.float32)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    memory = cl.Buffer(context, flags, hostbuf=host)
    cl.Kernel(cl.Program(context, source).build(), "twice")(queue, (16,), None, memory)
    answer = np.empty_like(host)
    cl.enqueue_copy(queue, answer, memory)
    if not np.array_equal(answer, 2 * host):
        sys.exit("the kernel ran and its answer is wrong")


def _key(device: dict[str, Any]) -> tuple[str, str]:
    return device.get("name", ""), device.get("driver", "")


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, platform.python_version(), "" if ok else "install Python 3.11")


def _packages() -> Iterator[Check]:
    """The pinned dependencies: passes rely on the graphs and shapes that these versions produce."""
    try:
        required = importlib.metadata.requires("pocketcl") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", False, "pocketcl runs without being installed", "pip install -e .")
        return
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", "\n".join(required), re.MULTILINE))
    wrong = [f"{name}=={pin}" for name, pin in pins.items() if _version(name) != pin]
    have = [f"{w.split('==')[0]} {_version(w.split('==')[0]) or 'missing'}" for w in wrong]
    if wrong:
        yield Check("packages", False, ", ".join(have), f"pip install {' '.join(wrong)}")
    else:
        yield Check("packages", True, f"{len(pins)} in their pinned versions")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _opencl() -> Iterator[Check]:
    found = opencl.opencl_devices()
    if not found:
        yield Check("opencl", False, opencl.NO_DEVICE, f"{POCL_DEBIAN}    or  {POCL_PYPI}")
        return
    best = opencl.best_device()
    for device in found:
        chosen = device == best and len(found) > 1
        used = ", used unless POCKETCL_PLATFORM names another" if chosen else ""
        yield Check(
            "opencl",
            True,
            f"{device['name']} ({device['platform']} {device['driver']}){used}",
            _faster_pocl(found) if device == best else "",
        )
        for fault in faults_of(device):
            yield Check("driver", True, f"known fault: {fault.note()}")


def _faster_pocl(found: list[dict[str, Any]]) -> str:
    """PyPI's PoCL 3.0 is slower than Debian's 3.1: GEMM and fma 3 to 8 times."""
    drivers = [d["driver"] for d in found if "Portable" in d["platform"]]
    slow = len(drivers) == len(found) and all(driver.startswith("3.0") for driver in drivers)
    return f"{POCL_DEBIAN}    # PoCL 3.1: faster than PyPI's 3.0" if slow else ""


def _linker() -> Check:
    path = find_linker()
    remedy = "" if path else "apt-get install binutils"
    return Check("linker", bool(path), path or "no `ld`: PoCL aborts without it", remedy)


def _launch() -> Check:
    code = "from toolkit.cli.doctor import try_launch; try_launch()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        return Check(
            "launch", False, "a kernel of one line took more than two minutes", POCL_DEBIAN
        )
    if done.returncode == 0:
        return Check("launch", True, "a kernel was built, ran and answered")
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    fault = next((line for line in said if line.startswith("error:")), said[-1])
    if UNKNOWN_CPU in fault:
        detail = "the OpenCL driver is older than this processor and can't compile for it"
        return Check("launch", False, detail, POCL_DEBIAN)
    return Check("launch", False, fault[:200], "repair what the checks above name first")


def _compiler() -> Check:
    names = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        detail = "no C++ compiler to build the runner; --on host works without"
        return Check("compiler", False, detail, "apt-get install g++")
    return Check("compiler", True, path)


def _cache() -> Check:
    folder, remedy = cache_home(), "set XDG_CACHE_HOME to a folder that only you can write to"
    try:
        make_own_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
        why = weakness(folder)
    except OSError as error:
        return Check("cache", False, str(error), "set XDG_CACHE_HOME to a folder you can write to")
    if why:
        return Check("cache", False, f"{folder} is not used: {why}", f"remove it, or {remedy}")
    return Check("cache", True, f"{folder}, {free / 1e9:.1f} GB free")


def _android() -> Check:
    from toolkit.errors import PocketError
    from toolkit.toolchain.android import describe_toolchain
    from toolkit.toolchain.sysroot import REMEDY

    try:
        found = describe_toolchain()
    except PocketError as error:
        return Check("android", False, str(error), error.hint, needed=False)
    detail = found or "neither an NDK nor zig is installed; only phones need one"
    return Check("android", bool(found), detail, "" if found else REMEDY, needed=False)
