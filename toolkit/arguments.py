"""Arguments of Python callers: checked for their type, with errors that say what is expected."""

import operator
import os
from collections.abc import Iterable, Mapping, Set
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import PocketError

NOT_IDS = (str, bytes, bytearray, Mapping, Set)  # iterable, but not sequences of ids
IDS_HINT = 'pass a list such as [1, 15, 27]; session.encode("a text") returns one'
STOP_HINT = 'pass ids such as {0, 2}; for texts pass stop_strings=["The end"]'


def path_of(value: Any, what: str, example: str) -> Path:
    """A path, `~` expanded; errors name `what` and show `example`."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise _wrong(value, what, f"pass {example}")
    text = os.path.expanduser(os.fspath(value))
    if not text or "\0" in text:
        raise PocketError(f"{text!r} is not {what}", "no file has such a name", f"pass {example}")
    return Path(text)


def text_of(value: Any, what: str) -> str:
    """A text; errors name `what`."""
    if not isinstance(value, str):
        raise _wrong(value, what, "pass a text")
    return value


def whole(name: str, value: Any, least: int = 1) -> int:
    """An integer of at least `least`, Python's or numpy's; truth values are refused."""
    number = _integer(value)
    if number is None:
        raise _wrong(value, f"a number for {name}", f"pass a whole number, {least} or more")
    if number < least:
        raise PocketError(f"{name} cannot be {number}", "it is a count", f"pass {least} or more")
    return number


def real(name: str, value: Any) -> float:
    """A number, Python's or numpy's; truth values and texts are refused."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise _wrong(value, f"a number for {name}", "pass a number such as 0.7")
    return float(value)


def token_ids(value: Any, what: str = "a list of token ids", hint: str = IDS_HINT) -> list[int]:
    """Ids of one text from any sequence or array of integers, [n] or [1, n]."""
    if isinstance(value, np.ndarray):
        return _of_array(value, what, hint)
    if isinstance(value, NOT_IDS) or not isinstance(value, Iterable):
        raise _wrong(value, what, hint)
    found = list(value)
    numbers = [_integer(each) for each in found]
    if None in numbers:
        at = numbers.index(None)
        because = f"item {at} is {found[at]!r:.40}, of type {type(found[at]).__name__}"
        raise PocketError(f"this is not {what}", because, hint)
    return [number for number in numbers if number is not None]


def id_set(value: Any) -> frozenset[int]:
    """Ids that end a text, from a set or a sequence."""
    ordered = list(value) if isinstance(value, Set) else value
    return frozenset(token_ids(ordered, "a set of ids that end a text", STOP_HINT))


def _of_array(value: np.ndarray[Any, Any], what: str, hint: str) -> list[int]:
    one_text = value.ndim == 1 or (value.ndim == 2 and len(value) == 1)
    if not one_text or (value.size and value.dtype.kind not in "iu"):
        because = f"it is an array of {value.dtype}, shape {list(value.shape)}"
        raise PocketError(f"this is not {what}", because, hint)
    ids: list[int] = value.reshape(-1).tolist()
    return ids


def _integer(value: Any) -> int | None:
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _wrong(value: Any, what: str, hint: str) -> PocketError:
    return PocketError(
        f"{value!r:.60} is not {what}", f"it is of type {type(value).__name__}", hint
    )
