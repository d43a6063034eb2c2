"""Build the C++ runner on first use, for this computer or by another toolchain."""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from toolkit.errors import PocketError
from toolkit.files import fill_once
from toolkit.paths import cache_dir
from toolkit.toolchain.linker import REMEDY as LINKER_REMEDY
from toolkit.toolchain.linker import find_linker

SOURCES = Path(__file__).parents[2] / "android_runner"  # in a checkout and in an installed wheel
FLAGS = ("-std=c++17", "-O2", "-Wall", "-Wextra")
REMEDY = "apt-get install g++; or use --on host, which needs no compiler"
CACHE = "set XDG_CACHE_HOME to a folder you can write to; or run pocketcl doctor"


@dataclass(frozen=True)
class Toolchain:
    """The commands that build a runner, and what else its program depends on."""

    name: str  # of its product, in the cache and for people
    compile: tuple[str, ...]  # before -c SOURCE -o OBJECT
    link: tuple[str, ...]  # before -o PROGRAM OBJECT…
    libraries: tuple[str, ...]  # after the objects
    identity: tuple[object, ...]  # distinguishes compilers with the same commands
    remedy: str  # the hint of errors if a command fails
    environment: Callable[[Path], Mapping[str, str]] = lambda _: (
        os.environ
    )  # for a folder of objects
    check: Callable[[Path], None] = lambda _: None  # raises if the program is unusable


def build_runner() -> Path:
    """The runner's program, built unless this compiler has built these sources before."""
    compiler = _compiler()
    status = os.stat(os.path.realpath(compiler[0]))
    return build(
        Toolchain(
            name="runner",
            compile=(*compiler, *FLAGS),
            link=compiler,
            libraries=("-ldl", "-pthread"),
            identity=(status.st_mtime_ns, status.st_size),
            remedy=REMEDY if find_linker() else LINKER_REMEDY,
        )
    )


def build(toolchain: Toolchain) -> Path:
    """The program that `toolchain` builds from the runner's sources, once and atomically.

    Raises:
        PocketError: there are no sources, a command fails, or the check does.
    """
    sources = runner_sources()
    if not sources:
        raise PocketError(
            "the runner's sources are missing", f"{SOURCES} holds none", "reinstall pocketcl"
        )
    folder = cache_dir() / f"{toolchain.name}-{_key(toolchain, [*sources, *runner_headers()])}"
    try:
        fill_once(folder, partial(_make, toolchain, sources))
    except OSError as error:
        raise PocketError(f"the {toolchain.name} can't be built", str(error), CACHE) from None
    return folder / "pocketcl-runner"


def runner_sources() -> list[Path]:
    """The runner's .cpp files; those of bionic/ belong to the sysroot of Android."""
    return sorted(file for file in SOURCES.glob("*/*.cpp") if file.parent.name != "bionic")


def runner_units(sources: Iterable[Path]) -> dict[str, str]:
    """Of each folder of SOURCES, a text that includes its `sources`.

    Compiling the texts takes half the time of compiling the files: what they all include, the
    standard library above all, is read once. CMake compiles file by file, which holds that each
    stands alone.
    """
    units: dict[str, str] = {}
    for source in sources:
        folder = source.parent.name
        units[folder] = units.get(folder, "") + f'#include "{folder}/{source.name}"\n'
    return units


def runner_headers() -> list[Path]:
    """The runner's .h files, which its sources include by their path from SOURCES."""
    return sorted(SOURCES.glob("*/*.h"))


def _compiler() -> tuple[str, ...]:
    for command in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        words = _words(command)
        if words and (path := shutil.which(words[0])):
            return (path, *words[1:])
    linker = "" if find_linker() else ", and no `ld`: neither is on the PATH"
    raise PocketError("the runner can't be built", f"no C++ compiler is here{linker}", REMEDY)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise PocketError(f"CXX is {command!r}", str(error), "correct it, or unset it") from None


def _key(toolchain: Toolchain, files: list[Path]) -> str:
    """A hash of what the program depends on: sources, commands and compiler."""
    t = toolchain
    digest = hashlib.sha256(repr((t.compile, t.link, t.libraries, t.identity)).encode())
    for file in files:
        name = file.relative_to(SOURCES).as_posix()
        digest.update(f"{name} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _make(toolchain: Toolchain, sources: list[Path], folder: Path) -> None:
    """Compile and link in `folder`, which holds only the program at the end."""
    if sys.stderr.isatty():
        print(f"building the {toolchain.name} (once) …", file=sys.stderr)
    work = folder / "objects"
    work.mkdir()
    run = partial(_run, toolchain, toolchain.environment(work))
    if find_linker() is None:
        _try_out(toolchain, work, run)  # the compiler may have a linker of its own
    units = []
    for name, text in runner_units(sources).items():
        units.append(work / f"{name}.cpp")
        units[-1].write_text(text)
    objects = [str(unit.with_suffix(".o")) for unit in units]
    compiles = (*toolchain.compile, f"-I{SOURCES}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        commands = [
            (*compiles, "-c", str(unit), "-o", target)
            for unit, target in zip(units, objects, strict=True)
        ]
        list(pool.map(run, commands))
    program = folder / "pocketcl-runner"
    run((*toolchain.link, "-o", str(program), *objects, *toolchain.libraries))
    toolchain.check(program)
    shutil.rmtree(work)


def _try_out(toolchain: Toolchain, work: Path, run: Callable[[tuple[str, ...]], None]) -> None:
    """Build a minimal program first: without a linker, that fails at once and not after minutes."""
    source, target = work / "minimal.cpp", str(work / "minimal.o")
    source.write_text("int main() { return 0; }\n")
    run((*toolchain.compile, "-c", str(source), "-o", target))
    run((*toolchain.link, "-o", str(work / "minimal"), target, *toolchain.libraries))


def _run(toolchain: Toolchain, environment: Mapping[str, str], command: tuple[str, ...]) -> None:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        because = "\n".join([shlex.join(command)[:200], *done.stderr.strip().splitlines()[:8]])
        raise PocketError(f"the {toolchain.name} can't be built", because, toolchain.remedy)
