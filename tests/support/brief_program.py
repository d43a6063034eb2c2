"""Programs whose texts bring the declarations that they name, in place of all that PoCL has.

Tests compile thousands of small kernels; CI compiles all of them as users get them, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyopencl as cl
from opencl_header import Header

HEADER = Path("/usr/share/pocl/include/opencl-c.h")
OF = "PoCL 3.1+debian"  # the one that reads this header, in the way that this file relies on
SKIP_ALL = "-D_OPENCL_H_"  # the header's guard


class BriefProgram(cl.Program):
    """A program whose text brings its declarations along, if PoCL compiles it."""

    def __init__(self, context: cl.Context, *source: Any) -> None:
        """A text, or devices and binaries; a text that includes others may name anything."""
        self.brief = len(source) == 1 and "#include" not in source[0]
        self.brief &= OF in context.devices[0].platform.version
        super().__init__(context, *map(_with_declarations, source) if self.brief else source)

    def build(self, options: Sequence[str] = (), **more: Any) -> cl.Program:
        """As the base class does."""
        return super().build([*options, SKIP_ALL] if self.brief else options, **more)


@cache
def _header() -> Header:
    return Header(HEADER)


def _with_declarations(text: str) -> str:
    """The text's lines keep their numbers."""
    return f"#undef _OPENCL_H_\n{_header().of(text)}\n#line 1\n{text}"
