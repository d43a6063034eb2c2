"""The arm64 phone's programs and libraries: Debian's PoCL, mksh and toybox, at Android's places.

Built once and kept under the user's cache; nothing of this machine is changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bionic import build_bionic
from opencl_header import Header
from phone_files import PhoneFiles
from phone_root import PhoneRoot, Unavailable

from toolkit.paths import cache_dir

SUITE = "bookworm"  # PoCL 3.1; newer ones compile ten times as long under qemu
PACKAGES = ("libpocl2", "pocl-opencl-icd", "ocl-icd-libopencl1", "libstdc++6", "mksh", "toybox")
TOOLS = {  # what must be there, and the package it comes from
    "mmdebstrap": "mmdebstrap",
    "qemu-aarch64-static": "qemu-user-static",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LINKER = "aarch64-linux-gnu-ld"
LIBRARIES = "lib/aarch64-linux-gnu"  # where the dynamic linker looks first
OPENCL = "vendor/lib64/libOpenCL.so"
LOADER = "usr/lib/opencl"  # Debian's, where nobody looks for a libOpenCL.so.1: phones have none
BIONIC = "apex/com.android.runtime/lib64/bionic"  # where Android has libc.so
KERNELS = "/data/misc/pocl"  # PoCL's own cache, as a driver has one
HEADERS = "/usr/share/pocl/include"
CHECKOUT = Path(__file__).parents[2]
TEXTS = ("opencl_kernels/*/*.cl*", "tests/*/*.py", "toolkit/cli/*.py")  # whose kernels run there
# Under qemu PoCL's compiler needs 5 s for a kernel; less than 1 s without optimisation, with few
# declarations, and when it doesn't compile it again for small launches and for those at offset 0.
ENVIRONMENT = {
    "POCL_CACHE_DIR": KERNELS,
    "POCL_WORK_GROUP_SPECIALIZATION": "0",
    "POCL_EXTRA_BUILD_FLAGS": "-cl-opt-disable",
}


def arm64_root(files: PhoneFiles, folders: Mapping[str, Path]) -> PhoneRoot:
    """An arm64 phone's file system; each of `folders` is shown at its path."""
    source = phone_rootfs()
    _add_android(source, files.folder)
    compiled = cache_dir() / f"{source.name}-kernels"
    compiled.mkdir(exist_ok=True)
    qemu = shutil.which("qemu-aarch64-static") or ""
    shown = {KERNELS: compiled, HEADERS: _short_headers(source), **folders}
    return PhoneRoot(files, source, qemu, shown, ENVIRONMENT)


def phone_rootfs() -> Path:
    """The folder with programs and libraries; made when there is none of this recipe."""
    if absent := [package for tool, package in TOOLS.items() if not shutil.which(tool)]:
        raise Unavailable(f"tools are missing: apt-get install {' '.join(absent)}")
    recipe = repr((SUITE, PACKAGES, inspect.getsource(_build), inspect.getsource(_copy_linker)))
    return _made("phone", recipe, _build)


def _short_headers(source: Path) -> Path:
    """PoCL's headers, with those functions that kernels of this checkout name."""
    theirs = source / HEADERS.lstrip("/")
    texts = (file.read_text() for pattern in TEXTS for file in CHECKOUT.glob(pattern))
    text = Header(theirs / "opencl-c.h").of("\n".join(texts))

    def build(folder: Path) -> None:
        shutil.copytree(theirs, folder)
        (folder / "opencl-c.h").write_text(text)

    return _made("phone-headers", f"{source.name}\n{text}", build)


def _made(name: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """A folder in the cache, built if there is none of this recipe."""
    root = cache_dir() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes ask at once
        if not root.exists():
            with tempfile.TemporaryDirectory(dir=root.parent, prefix=f"{name}-new-") as folder:
                build(Path(folder, "root"))
                os.replace(Path(folder, "root"), root)
    return root


def _build(root: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder, "phone.list")
        sources.write_text(_sources())
        wanted = ["--architectures=arm64", f"--include={','.join(PACKAGES)}", *_apt_options()]
        places = [SUITE, str(root), str(sources)]
        mode = "root" if os.geteuid() == 0 else "chrootless"
        _run("mmdebstrap", "--quiet", f"--mode={mode}", "--variant=extract", *wanted, *places)
    # What Android's linker finds in its own folders.
    for place in (OPENCL, *(f"{BIONIC}/{name}.so" for name in ("libc", "libm", "libdl"))):
        (root / LIBRARIES / Path(place).name).symlink_to(f"/{place}")
    (root / LOADER).mkdir()
    for file in (root / "usr" / LIBRARIES).glob("libOpenCL.so*"):
        file.rename(root / LOADER / file.name)
    (root / "etc/passwd").write_text("root:x:0:0::/:/system/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    _copy_linker(root)


def _copy_linker(root: Path) -> None:
    """PoCL links what it has compiled: by this machine's linker, which needs no emulation."""
    linker = Path(shutil.which(LINKER) or LINKER).resolve()
    for line in _run("ldd", str(linker)).splitlines():
        if found := re.search(r"(/\S+) \(0x", line):
            _copy(Path(found[1]), root / found[1].lstrip("/"))
    _copy(linker, root / "usr/bin/aarch64-unknown-linux-gnu-ld")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _add_android(root: Path, folder: Path) -> None:
    """Android's shell, tools, dynamic linker, C library and driver, at their places."""
    programs, driver = folder / "system/bin", folder / OPENCL
    programs.mkdir(parents=True)
    driver.parent.mkdir(parents=True)
    (programs / "sh").symlink_to("/bin/mksh")
    (programs / "linker64").symlink_to("/lib/ld-linux-aarch64.so.1")
    for tool in _run("qemu-aarch64-static", "-L", str(root), str(root / "bin/toybox")).split():
        if not (programs / tool).is_symlink():
            (programs / tool).symlink_to("/bin/toybox")
    driver.symlink_to(f"/{LOADER}/libOpenCL.so.1")
    build_bionic(root, folder / BIONIC)


# --- apt ---------------------------------------------------------------------------------------


def _sources() -> str:
    """One line for apt: the suite, from where this machine takes its own Debian packages."""
    release = platform.freedesktop_os_release()
    uri = os.environ.get("POCKETCL_DEBIAN", "")
    if not uri and release.get("ID") == "debian":
        form = ("--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
        wanted = [release["VERSION_CODENAME"], "main"]
        lines = map(str.split, _run("apt-get", "indextargets", *form).splitlines())
        uri = next((line[0] for line in lines if line[1:] == wanted), "")
    if not uri:
        raise Unavailable("apt has no Debian source here: set POCKETCL_DEBIAN to a mirror's URL")
    signed = f"[signed-by={KEYRING}] " if Path(KEYRING).exists() else ""
    return f"deb {signed}{uri} {SUITE} main\n"


def _apt_options() -> list[str]:
    """What this machine's apt was told of proxies and checks."""
    lines = _run("apt-config", "dump", "--format", '%f "%v";%n', "Acquire").splitlines()
    told = re.compile(r"Acquire::(https?|Check-|Retries)", re.IGNORECASE)
    return [f"--aptopt={line}" for line in lines if told.match(line)]


def _run(*command: str) -> str:
    """What a program prints; Unavailable with its last words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = "; ".join(done.stderr.strip().splitlines()[-3:])
        raise Unavailable(f"{command[0]} ended with {done.returncode}: {said}")
    return done.stdout
