"""The sysroot that zig lacks to link for Android: start code, Android's libraries, C++ libraries.

zig compiles for arm64 Linux with musl's headers; where those differ from Android's, symbols.txt
leaves a name out or compat.cpp bridges it. A program is linked against stubs of Android's libraries
that hold only their symbols, as the NDK's do, and against the static C++ libraries that zig builds
from its sources. `python -m toolkit.toolchain.sysroot` prints what bionic/zig.cmake needs.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from toolkit.errors import PocketError, format_error
from toolkit.files import fill_once
from toolkit.paths import cache_dir

BIONIC = Path(__file__).parents[2] / "android_runner" / "bionic"
REMEDY = "pip install 'pocketcl[android]'; or install an NDK and set ANDROID_NDK_HOME to it"
TARGET = ("-target", "aarch64-linux-musl")
ARCHIVES = ("libc++.a", "libc++abi.a", "libunwind.a", "libcompiler_rt.a")
STARTS = ("crt0.S", "compat.cpp")
UNIT = "int *unit() { return new int; }\n"


def find_zig() -> Path | None:
    """The zig program in PyPI's package `ziglang`."""
    spec = importlib.util.find_spec("ziglang")  # looked up, not imported
    program = Path(spec.origin).parent / "zig" if spec and spec.origin else None
    return program if program and program.is_file() else None


def zig_version() -> str:
    """Its version; empty when it isn't installed."""
    try:
        return importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return ""


@cache
def symbols() -> dict[str, dict[str, int]]:
    """Library -> symbol -> size: the symbols of Android's libraries; functions have size 0."""
    found: dict[str, dict[str, int]] = {}
    for line in (BIONIC / "symbols.txt").read_text().splitlines():
        library, *names = line.partition("#")[0].split() or [""]
        for name, _, size in (word.partition("@") for word in names):
            found.setdefault(library, {})[name] = int(size or 0)
    return found


def sysroot(zig: Path) -> Path:
    """The folder with crt0.o, compat.o, stubs and C++ libraries; built once, in about a minute."""
    libraries = cache_dir() / f"zig-{zig_version()}-arm64"
    fill_once(libraries, lambda folder: _fill_libraries(zig, folder))
    digest = hashlib.sha256(f"{zig_version()} {Path(__file__).read_text()}".encode())
    for name in ("symbols.txt", "compile.txt", *STARTS):
        digest.update((BIONIC / name).read_bytes())
    folder = cache_dir() / f"android-sysroot-{digest.hexdigest()[:16]}"
    fill_once(folder, lambda temporary: _fill(zig, libraries, temporary))
    return folder


def _fill(zig: Path, libraries: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as work:
        for path in libraries.iterdir():
            shutil.copy(path, folder)
        for name in STARTS:
            target = folder / f"{Path(name).stem}.o"
            words = [f"@{BIONIC / 'compile.txt'}", "-fno-lto", "-c", str(BIONIC / name)]
            run_zig(zig, Path(work), "c++", *TARGET, *words, "-o", str(target))
        for library, names in symbols().items():
            _stub(zig, Path(work), folder / f"{library}.so", names)


def _fill_libraries(zig: Path, folder: Path) -> None:
    """Copy the static libraries that zig builds into its cache when it links a program."""
    if sys.stderr.isatty():
        print("building zig's C++ library for arm64 (once) …", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        unit = Path(work) / "unit.cpp"
        unit.write_text(UNIT)
        words = (*TARGET, "-Os", "-shared", str(unit), "-o", f"{unit}.so")
        run_zig(zig, Path(work), "c++", *words)
        found = {name: list(Path(work).rglob(name)) for name in ARCHIVES}
        if wrong := [f"{len(paths)} {name}" for name, paths in found.items() if len(paths) != 1]:
            because = f"zig {zig_version()} made {', '.join(wrong)} instead of one"
            raise PocketError("the phone's C++ libraries can't be built", because, REMEDY)
        for paths in found.values():
            shutil.copy(paths[0], folder)


def _stub(zig: Path, caches: Path, library: Path, names: dict[str, int]) -> None:
    """Make a library that only defines `names`, with the symbol version that bionic has."""
    source, versions = caches / f"{library.stem}.S", caches / f"{library.stem}.map"
    lines = [".text"]
    for name, size in names.items():
        kind = "object" if size else "function"
        lines += [f".globl {name}", f".type {name}, %{kind}", f".size {name}, {size}", f"{name}:"]
    source.write_text("\n".join([*lines, ".zero 8", ""]))
    versions.write_text(f"LIBC {{ global: {'; '.join(names)}; local: *; }};\n")
    run_zig(zig, caches, "cc", *TARGET, "-c", str(source), "-o", f"{source}.o")
    words = ["-m", "aarch64linux", "-shared", "-soname", library.name]
    words += ["--version-script", str(versions), "--hash-style=both", "-o", str(library)]
    run_zig(zig, caches, "ld.lld", *words, f"{source}.o")


def run_zig(zig: Path, caches: Path, *words: str) -> str:
    """Run zig and return its output; raises if it fails. Its caches are in the folder `caches`."""
    done = subprocess.run(
        [str(zig), *words],
        env=zig_environment(caches),
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        because = "\n".join(done.stderr.strip().splitlines()[:8])
        raise PocketError("zig can't build for arm64", because, REMEDY)
    return done.stdout + done.stderr


def zig_environment(caches: Path) -> dict[str, str]:
    """The environment in which zig writes only to `caches`, since HOME may be read-only."""
    folders = ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")
    return os.environ | {name: str(caches.absolute()) for name in folders}


def main() -> int:
    """Print zig and the sysroot as a CMake list."""
    try:
        zig = find_zig()
        if zig is None:
            raise PocketError("zig is not installed", "this Python has no package ziglang", REMEDY)
        print(f"{zig};{sysroot(zig)}")
    except PocketError as error:
        print(format_error(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
