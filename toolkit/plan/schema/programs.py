"""What a plan builds and launches: programs, their variants, and what drivers get wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.plan.expr import Expr

TEXEL = 16  # bytes: a multiple of it is where an image's argument begins and ends
FEATURES = ("fp16", "subgroups", "shuffles", "images", "int_dot")
# Of a program's build. A plan comes from elsewhere: these change what numbers a kernel computes and
# nothing else, while some compilers have options that read or write files.
BUILD_OPTIONS = (
    "-cl-std=CL1.2",
    "-cl-std=CL2.0",
    "-cl-std=CL3.0",
    "-cl-mad-enable",
    "-cl-no-signed-zeros",
    "-cl-denorms-are-zero",
    "-cl-single-precision-constant",
    "-cl-unsafe-math-optimizations",
    "-cl-finite-math-only",
    "-cl-fast-relaxed-math",
    "-cl-uniform-work-group-size",
)


@dataclass(frozen=True)
class Program:
    """One build: `#define` lines, then the text of `source`; `kernel` is the function to run.

    `options` are among BUILD_OPTIONS. What `defines` came from is for people and `pocketcl tune`:
    no executor reads it.
    """

    source: str
    kernel: str
    defines: tuple[tuple[str, str], ...]
    case: Mapping[str, Any] | None = field(default=None, compare=False)  # sizes and storage
    knobs: Mapping[str, int] | None = field(default=None, compare=False)  # those found by tuning
    options: tuple[str, ...] = field(default=(), metadata={"unless_empty": True})


@dataclass(frozen=True)
class DriverFault:
    """What a driver is known to get wrong, and what is therefore not used with it.

    compiler, since, before  as in CL_DRIVER_VERSION: "Compiler E031.47.18.36" is E031 of version
                             47.18.36; without bounds it is every version
    without                  features, kernels and options of builds: a variant that needs one of
                             them is passed over
    """

    compiler: str
    fault: str  # and its source, for people
    without: tuple[str, ...] = field(default=(), metadata={"unless_empty": True})
    since: str = field(default="", metadata={"key": "from", "unless_empty": True})
    before: str = field(default="", metadata={"unless_empty": True})


@dataclass(frozen=True)
class Variant:
    """One way to run a dispatch; `requires` names device features (FEATURES).

    local_bytes  what a work-group takes of local memory; not written where it takes none
    cut          the axis along which it may be launched in pieces with offsets, if there is one
    images       indices into the dispatch's arguments: behind them the kernel takes, for each of
                 these, an image1d_buffer_t of all the memory that the argument lies in (the arena,
                 a weights file, a buffer), whose texels are four words of 32 bits (TEXEL bytes),
                 and an int: the texel where the argument begins
    """

    program: int
    global_size: tuple[Expr, ...] = field(metadata={"key": "global"})
    local_size: tuple[int, ...] = field(metadata={"key": "local"})
    requires: tuple[str, ...] = ()
    local_bytes: int | None = None
    cut: int | None = None
    images: tuple[int, ...] = field(default=(), metadata={"unless_empty": True})
