"""libc.so, libm.so and libdl.so with bionic's names, on top of an arm64 glibc.

So the very program that is pushed to phones runs under qemu. The names come from the list that
the program is linked against: what isn't in it can't be imported, on a phone as here.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

SYMBOLS = Path(__file__).parents[2] / "android_runner/bionic/symbols.txt"
OWN = Path(__file__).with_name("bionic_shim.c")
COMPILER = ("aarch64-linux-gnu-gcc", "-O2", "-fPIC", "-fno-stack-protector", "-w")
LINK = ("-nostdlib", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--no-as-needed")
JUMP = """.globl {name}
.type {name},%function
{name}: adrp x16, :got:glibc_{name}
 ldr x16, [x16, :got_lo12:glibc_{name}]
 br x16
.symver glibc_{name},{name}@{version}
"""


def read_symbols(path: Path) -> dict[str, list[str]]:
    """{library: names} of a list whose lines are `libc name variable@size …`, with # comments."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if words := line.partition("#")[0].split():
            names = [word.partition("@")[0] for word in words[1:]]
            found.setdefault(words[0].removesuffix(".so"), []).extend(names)
    return found


def build_bionic(root: Path, target: Path, symbols: Path = SYMBOLS) -> None:
    """Build the libraries into `target`; `root` holds the glibc to stand on."""
    target.mkdir(parents=True, exist_ok=True)
    glibc = [root / "lib/aarch64-linux-gnu" / name for name in ("libc.so.6", "libm.so.6")]
    versions = _versions(glibc)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _compile("-c", OWN, "-o", work / "own.o")
        own = set(_output("nm", "--defined-only", "--format=just-symbols", work / "own.o").split())
        for library, names in read_symbols(symbols).items():
            jumps = [name for name in names if not (library == "libc" and name in own)]
            if unknown := [name for name in jumps if name not in versions]:
                raise ValueError(f"glibc has no {', '.join(unknown)}: write them in {OWN.name}")
            (work / "map").write_text(f"LIBC {{ global: {'; '.join(names)}; local: *; }};\n")
            text = (JUMP.format(name=name, version=versions[name]) for name in jumps)
            (work / "jumps.S").write_text(".text\n" + "".join(text))
            objects = [work / "jumps.S", *([work / "own.o"] if library == "libc" else [])]
            flags = [f"-Wl,-soname,{library}.so", f"-Wl,--version-script={work / 'map'}", *LINK]
            _compile("-shared", *flags, *objects, *glibc, "-o", target / f"{library}.so")


def _compile(*words: str | Path) -> None:
    subprocess.run([*COMPILER, *words], check=True)


def _output(tool: str, *words: str | Path) -> str:
    command = [f"aarch64-linux-gnu-{tool}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _versions(libraries: Iterable[Path]) -> dict[str, str]:
    """{name: its default version} of what the libraries export."""
    found: dict[str, str] = {}
    for library in libraries:
        table = _output("readelf", "--dyn-syms", "--wide", library)
        pattern = r"(?:FUNC|IFUNC|OBJECT)\s+(?:GLOBAL|WEAK)\s+DEFAULT\s+\d+ (\S+?)@@(\S+)"
        found |= dict(re.findall(pattern, table))
    return found
