"""C and C++ of the tests, and the runner's sources, compiled: objects and results are kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from toolkit.paths import cache_dir
from toolkit.toolchain.build import SOURCES, runner_headers, runner_sources, runner_units

SUPPORT = Path(__file__).parent
DRIVERS = SUPPORT / "drivers"
INTO_ONE_FILE = ("-fvisibility=hidden", f"-Wl,--version-script={SOURCES / 'pocketcl.map'}")
# -g1 names files and lines, all that a report needs: with -g a build takes twice as long. What is
# built without sanitizers runs for less time than the compiler would optimise it.
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1", "-O1")
RACES = ("-fsanitize=thread", "-g1", "-O1")
BUSY = ("base",)  # the unit that hashes kernels and plans, whenever a runner starts


def compiler(language: str) -> list[str]:
    """The command for .c or .cpp, by $CC or $CXX as everywhere."""
    command = {".c": ("CC", "cc"), ".cpp": ("CXX", "c++")}[language]
    return shlex.split(os.environ.get(*command))


def library_sources() -> list[Path]:
    """The .cpp files of the library: the runner's without those of its program."""
    return [file for file in runner_sources() if file.parent.name != "program"]


def build(name: str, sources: Sequence[Path], *flags: str) -> Path:
    """A program, or with -shared a library; of the same sources and flags it is built once."""
    compile_flags = [f for f in flags if f not in ("-shared",) and not f.startswith("-Wl,")]
    own = [f for f in sources if f.suffix != ".cpp" or SOURCES not in f.parents]
    with _alone(), ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = [*own, *_units([source for source in sources if source not in own])]
        objects = list(pool.map(lambda f: _object(f, [*compile_flags, "-fPIC"]), whole))
        target = _folder() / _key([str(o) for o in objects], flags) / name
        if not target.exists():
            cpp = any(f.suffix == ".cpp" for f in sources)
            command = compiler(".cpp" if cpp else ".c")
            _make(target, [*command, *flags, *map(str, objects), "-ldl", "-pthread"])
    return target


def quick_runner() -> Path:
    """The runner's program, of the objects that the library has: none is compiled for it alone."""
    return build("pocketcl-runner", runner_sources(), "-fvisibility=hidden")


def with_library(name: str, *own: Path) -> Path:
    """A program of these sources and of the library, whose objects other tests have, too."""
    return build(name, [*own, *library_sources()], "-fvisibility=hidden")


def sanitized_runner() -> Path:
    """The runner's program with sanitizers, of the objects that the fuzzer has."""
    return build("pocketcl-runner", runner_sources(), *SANITIZERS, "-fvisibility=hidden")


@contextmanager
def _alone() -> Iterator[None]:
    """Test processes side by side want the same: one builds it, the others wait."""
    _folder().mkdir(parents=True, exist_ok=True)
    with (_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _folder() -> Path:
    return cache_dir() / "tests"


def _units(sources: Sequence[Path]) -> Iterator[Path]:
    """Files of the runner's units, in folders by what they include: equal ones share objects."""
    for name, text in runner_units(sources).items():
        held = [source.read_text() for source in sources if source.parent.name == name]
        unit = _folder() / f"unit-{_key([text, *held])}" / f"{name}.cpp"
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text(text)
        yield unit


def _object(source: Path, flags: Sequence[str]) -> Path:
    standard = "-std=c11" if source.suffix == ".c" else "-std=c++17"
    program, *given = compiler(source.suffix)
    level = "-O2" if source.stem in BUSY else "-O0"
    command = [program, standard, level, "-Wall", "-Wextra", "-Werror"]
    command += [*given, *flags, f"-I{SOURCES}", f"-I{SOURCES / 'include'}"]
    beside = sorted(source.parent.glob("*.h"))
    headers = [header.read_text() for header in (*runner_headers(), *beside)]
    key = _key([*headers, str(source), source.read_text()], command)
    target = _folder() / f"{source.stem}-{key}.o"
    if not target.exists():
        _make(target, [*command, "-c", str(source)])
    return target


def _key(*parts: Sequence[str]) -> str:
    return hashlib.sha256(repr([list(p) for p in parts]).encode()).hexdigest()[:16]


def _make(target: Path, command: Sequence[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    done = subprocess.run([*command, "-o", str(temporary)], capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"
    temporary.replace(target)
