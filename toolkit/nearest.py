"""Suggestions for an unknown name: the known names most like it."""

import difflib
from collections.abc import Collection

from toolkit.errors import PocketError

FEW = 24  # names that still fit into an error message
SHORT = 3  # letters; shorter words occur in too many names


def plain(name: str) -> str:
    """A name without case and punctuation, which people rarely remember."""
    return "".join(filter(str.isalnum, name.casefold()))


def nearest(word: str, known: Collection[str], count: int = 3) -> list[str]:
    """The known names most like a word, best first; none where nothing is like it.

    A name that contains the whole word comes before one that is only spelled similarly.
    """
    names: dict[str, list[str]] = {}
    for name in known:
        names.setdefault(plain(name), []).append(name)
    wanted = plain(word)
    holding = [key for key in names if len(wanted) >= SHORT and wanted in key]
    close = difflib.get_close_matches(wanted, names, count, 0.6)
    keys = dict.fromkeys([*sorted(holding, key=len), *close])
    return [name for key in keys for name in names[key]][:count]


def unknown(what: str, word: str, known: Collection[str], hint: str) -> PocketError:
    """The error `what` for an unknown name; `hint` is a command that lists all names."""
    close = nearest(word, known)
    listed = not close and len(known) <= FEW
    because = f"known are {', '.join(known)}" if listed else f"it is none of {len(known)} names"
    hint = f"use {' or '.join(close)}; {hint}" if close else hint
    return PocketError(what, because, hint)
