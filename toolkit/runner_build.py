"""The C++ runner as a program: built on first use, and the OpenCL library that it will load."""

import ctypes
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from toolkit.errors import PocketError
from toolkit.paths import cache_dir

SOURCES = Path(__file__).parents[1] / "android_runner"  # in a checkout and in an installed wheel
FLAGS = ("-std=c++17", "-O2", "-Wall", "-Wextra")
REMEDY = "apt-get install g++; or --on host, which needs no compiler"
CACHE = "set XDG_CACHE_HOME to a folder you can write to; pocketcl doctor"
VENDORS = Path("/etc/OpenCL/vendors")


def build_runner() -> Path:
    """The runner's program; compiled when there is none of these sources and this compiler."""
    compiler, files = _compiler(), sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")])
    if not files:
        raise PocketError("the runner's sources are missing", f"{SOURCES} holds none", "reinstall")
    program = cache_dir() / f"runner-{_key(compiler, files)}" / "pocketcl-runner"
    if not program.exists():
        _compile(compiler, [f for f in files if f.suffix == ".cpp"], program)
    return program


def _compiler() -> list[str]:
    for command in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        words = _words(command)
        if words and (path := shutil.which(words[0])):
            return [path, *words[1:]]
    raise PocketError("the runner can't be built", "no C++ compiler is here", REMEDY)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise PocketError(f"CXX is {command!r}", str(error), "unset it, or mend it") from None


def _key(compiler: list[str], files: list[Path]) -> str:
    """What the program depends on: sources, flags, and which compiler this is."""
    status = os.stat(os.path.realpath(compiler[0]))
    digest = hashlib.sha256(repr((compiler, status.st_mtime_ns, status.st_size, FLAGS)).encode())
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _compile(compiler: list[str], sources: list[Path], program: Path) -> None:
    if sys.stderr.isatty():
        print("building the runner (once) …", file=sys.stderr)
    try:
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            objects = [f"{folder}/{source.stem}.o" for source in sources]
            commands = [
                [*compiler, *FLAGS, "-c", str(source), "-o", target]
                for source, target in zip(sources, objects, strict=True)
            ]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(_run, commands))
            _run([*compiler, "-o", f"{folder}/program", *objects, "-ldl", "-pthread"])
            os.replace(f"{folder}/program", program)
    except OSError as error:
        raise PocketError("the runner can't be built", str(error), CACHE) from None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        because = "\n".join([shlex.join(command)[:200], *done.stderr.strip().splitlines()[:8]])
        raise PocketError("the runner can't be built", because, REMEDY)


# --- OpenCL on a desktop -----------------------------------------------------------------------


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
        found["PYOPENCL_HOME"] = str(package)  # its loader dereferences this without a look
    if drivers and not _system_drivers():
        found["OCL_ICD_VENDORS"] = str(_vendors_folder(drivers))
    return found


def _system_drivers() -> bool:
    """Whether the loader finds drivers by itself: .icd files, or a library named by the user."""
    vendors = Path(os.environ.get("OCL_ICD_VENDORS") or VENDORS)
    if vendors.is_dir():
        return any(vendors.glob("*.icd"))
    return vendors.is_file() or "OCL_ICD_FILENAMES" in os.environ


def _vendors_folder(drivers: list[Path]) -> Path:
    """A folder of .icd files with absolute paths: a wheel's name its library only."""
    lines = {icd.name: str(icd.parent / icd.read_text().strip()) for icd in drivers}
    key = hashlib.sha256(repr(sorted(lines.items())).encode()).hexdigest()[:16]
    folder = cache_dir() / f"icd-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, line in lines.items():
        if not (folder / name).exists():
            temporary = folder / f"{name}.{os.getpid()}"
            temporary.write_text(line + "\n")
            temporary.replace(folder / name)
    return folder


def _bundled(pattern: str) -> list[Path]:
    package = _pyopencl()
    return sorted((package / ".libs").glob(pattern)) if package else []


def _pyopencl() -> Path | None:
    spec = importlib.util.find_spec("pyopencl")  # looked up, not imported
    return Path(spec.origin).parent if spec and spec.origin else None
