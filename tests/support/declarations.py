"""The declarations of OpenCL's functions that a kernel's text names, in place of all of them.

PoCL lets every program read `opencl-c.h`, with 15,000 declarations: that takes four times as long
as to compile a small kernel. Tests compile thousands. A text that brings what it names along gives
the same program; what it would lack, the compiler says. CI compiles all kernels as users get them,
too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyopencl as cl

HEADER = Path("/usr/share/pocl/include/opencl-c.h")
OF = "PoCL 3.1+debian"  # the one that reads this header, in the way that this file relies on
SKIP_ALL = "-D_OPENCL_H_"  # the guard of the header
LINE = r"(?:[^\n\\]|\\.)*"  # its rest, with the lines that continue it
COMMENT = re.compile(rf"/\*.*?\*/|//{LINE}", re.S)
PART = re.compile(rf"^[ \t]*#{LINE}$|[^\s#][^;]*;", re.M | re.S)  # a directive or a declaration
NAME = re.compile(r"(\w+)\s*\((?!\()")  # not the one of an attribute
WORD = re.compile(r"\w+")


class Declarations:
    """The parts of a header, by the words that call for them."""

    def __init__(self, header: Path) -> None:
        """Reads PoCL's copy of clang's opencl-c.h."""
        self.parts: list[str] = PART.findall(COMMENT.sub("", header.read_text()))
        self.always: list[int] = []
        self.by_word = defaultdict[str, list[int]](list)
        for number, part in enumerate(self.parts):
            named = NAME.search(part)
            if part.lstrip().startswith("#"):
                # opencl-c-base.h is there already, and is not found from here
                self.always += [number] if "#include" not in part else []
            elif named:
                for word in _spellings(named.group(1)):
                    self.by_word[word].append(number)

    def of(self, text: str) -> str:
        """What goes before a text that is compiled with SKIP_ALL; its lines keep their numbers."""
        words = set(WORD.findall(text))
        chosen = {*self.always, *(n for word in words for n in self.by_word.get(word, ()))}
        parts = (self.parts[number] for number in sorted(chosen))
        return "\n".join(["#undef _OPENCL_H_", *parts, "#line 1", ""])


def _spellings(name: str) -> set[str]:
    """A function's name, and its beginnings that macros put together with a type or a width."""
    return {name, name.rstrip("0123456789"), name[: name.rfind("_") + 1]}


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
def _declarations() -> Declarations:
    return Declarations(HEADER)


def _with_declarations(text: str) -> str:
    return _declarations().of(text) + text
