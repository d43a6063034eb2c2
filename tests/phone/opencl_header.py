"""PoCL's header without the functions that nobody names.

It has 15,000 declarations, and PoCL reads it for each program: that takes four times as long as to
compile a small kernel. A program of what its text names is the same; what it would lack, the
compiler says.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

LINE = r"(?:[^\n\\]|\\.)*"  # its rest, with the lines that continue it
COMMENT = re.compile(rf"/\*.*?\*/|//{LINE}", re.S)
PART = re.compile(rf"^[ \t]*#{LINE}$|[^\s#][^;]*;", re.M | re.S)  # a directive or a declaration
NAME = re.compile(r"(\w+)\s*\((?!\()")  # not the one of an attribute
WORD = re.compile(r"\w+")


class Header:
    """The parts of clang's opencl-c.h, by the words that call for them."""

    def __init__(self, file: Path) -> None:
        """Reads PoCL's copy."""
        self.parts: list[str] = PART.findall(COMMENT.sub("", file.read_text()))
        self.always: list[int] = []
        self.by_word = defaultdict[str, list[int]](list)
        for number, part in enumerate(self.parts):
            named = NAME.search(part)
            if part.lstrip().startswith("#"):
                # PoCL reads opencl-c-base.h by itself
                self.always += [number] if "#include" not in part else []
            elif named:
                for word in _spellings(named.group(1)):
                    self.by_word[word].append(number)

    def words(self) -> dict[int, set[str]]:
        """The words that call for a part, by its number; parts of `always` have none."""
        words = defaultdict[int, set[str]](set)
        for word, numbers in self.by_word.items():
            for number in numbers:
                words[number].add(word)
        return words

    def of(self, text: str) -> str:
        """All directives, and the functions that a text names."""
        words = set(WORD.findall(text))
        chosen = {*self.always, *(n for word in words for n in self.by_word.get(word, ()))}
        return "".join(f"{self.parts[number]}\n" for number in sorted(chosen))


def _spellings(name: str) -> set[str]:
    """A function's name, and its beginnings that macros put together with a type or a width."""
    return {name, name.rstrip("0123456789"), name[: name.rfind("_") + 1]}
