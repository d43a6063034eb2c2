"""Strings that end a text, found in what is streamed."""

from collections.abc import Iterable, Sequence

from toolkit.errors import PocketError
from toolkit.generation.tokenizer import Stream


class StopStrings:
    """Ids in; out those whose text can't be part of a stop string any more.

    found  the stop string that came; what was held back before it is in `tail`
    tail   text between the last id out and the stop string: part of an id, or ids, are cut off
    """

    def __init__(self, stream: Stream, strings: Sequence[str]) -> None:
        self._stream, self._strings = stream, check_stop_strings(strings)
        self.found: str | None = None
        self.tail = ""
        self._text = ""  # of the ids held back
        self._held: list[tuple[int, int]] = []  # id, where its text ends in _text
        self._unfinished: list[int] = []  # ids that are no whole characters yet

    def push(self, token: int) -> list[int]:
        """The ids that are safe with this one."""
        piece = self._stream.push(token)
        self._unfinished.append(token)
        if not piece:
            return []
        self._text += piece
        self._held += [(token, len(self._text)) for token in self._unfinished]
        self._unfinished = []
        starts = [(self._text.find(s), s) for s in self._strings if s in self._text]
        if not starts:
            return self._take(len(self._text) - self._begun())
        start, self.found = min(starts)
        released = self._take(start)
        self.tail = self._text[: self._text.find(self.found)]
        return released

    def flush(self) -> list[int]:
        """What is held back when the text ends otherwise."""
        rest = [token for token, _ in self._held] + self._unfinished
        self._held, self._unfinished, self._text = [], [], ""
        return rest

    def _begun(self) -> int:
        """Characters at the end that may begin a stop string."""
        lengths = (n for s in self._strings for n in range(1, len(s)) if self._text.endswith(s[:n]))
        return max(lengths, default=0)

    def _take(self, limit: int) -> list[int]:
        """The ids whose text ends before `limit`."""
        taken = [token for token, end in self._held if end <= limit]
        cut = max((end for _, end in self._held if end <= limit), default=0)
        self._held = [(token, end - cut) for token, end in self._held if end > limit]
        self._text = self._text[cut:]
        return taken


def check_stop_strings(strings: Sequence[str]) -> tuple[str, ...]:
    """Raise unless each of them can be found in a text."""
    many = isinstance(strings, Iterable) and not isinstance(strings, str)
    if not many or not all(isinstance(s, str) and s for s in strings):
        because = "it takes a list of texts, none of them empty"
        raise PocketError(f"{strings!r:.60} are no stop strings", because, "--stop TEXT")
    return tuple(strings)
