"""What was meant by a name that nothing has: the known names most like it."""

import difflib
from collections.abc import Collection

from toolkit.errors import PocketError

FEW = 24  # names that still fit into a sentence
SHORT = 3  # letters; fewer stand in too many names


def plain(name: str) -> str:
    """A name without case and punctuation: people remember neither."""
    return "".join(filter(str.isalnum, name.casefold()))


def nearest(word: str, known: Collection[str], count: int = 3) -> list[str]:
    """The known names most like a word, best first; none where nothing is like it.

    A name that holds the whole word is nearer than one that is spelled much like it.
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
    """The error `what` for a word that is none of the known names; `hint`: where all are."""
    close = nearest(word, known)
    listed = not close and len(known) <= FEW
    because = f"known are {', '.join(known)}" if listed else f"it is none of {len(known)} names"
    hint = f"{' or '.join(close)}; {hint}" if close else hint
    return PocketError(what, because, hint)
