"""Strings that end a text, found while it is streamed."""

from collections.abc import Iterable, Sequence

from toolkit.errors import PocketError
from toolkit.generation.tokenizer import Stream


class StopStrings:
    """Ids in; ids out once their text can no longer be part of a stop string.

    found  the stop string that ended the text, if one has
    tail   text between the last id that was returned and the stop string, which may split an id
    """

    def __init__(self, stream: Stream, strings: Sequence[str]) -> None:
        self._stream, self._strings = stream, check_stop_strings(strings)
        self.found: str | None = None
        self.tail = ""
        self._text = ""  # of the waiting ids
        self._waiting: list[tuple[int, int]] = []  # id, where its text ends in _text
        self._unfinished: list[int] = []  # ids whose last character is incomplete

    def push(self, token: int) -> list[int]:
        """The ids that this one releases."""
        piece = self._stream.push(token)
        self._unfinished.append(token)
        if not piece:
            return []
        self._text += piece
        self._waiting += [(token, len(self._text)) for token in self._unfinished]
        self._unfinished = []
        starts = [(self._text.find(s), s) for s in self._strings if s in self._text]
        if not starts:
            return self._take(len(self._text) - self._begun())
        start, self.found = min(starts)
        released = self._take(start)
        self.tail = self._text[: self._text.find(self.found)]
        return released

    def flush(self) -> list[int]:
        """The waiting ids, for a text that ends without a stop string."""
        rest = [token for token, _ in self._waiting] + self._unfinished
        self._waiting, self._unfinished, self._text = [], [], ""
        return rest

    def _begun(self) -> int:
        """How many characters at the end may begin a stop string."""
        lengths = (n for s in self._strings for n in range(1, len(s)) if self._text.endswith(s[:n]))
        return max(lengths, default=0)

    def _take(self, limit: int) -> list[int]:
        """Remove and return the ids whose text ends at `limit` or before."""
        taken = [token for token, end in self._waiting if end <= limit]
        cut = max((end for _, end in self._waiting if end <= limit), default=0)
        self._waiting = [(token, end - cut) for token, end in self._waiting if end > limit]
        self._text = self._text[cut:]
        return taken


def check_stop_strings(strings: Sequence[str]) -> tuple[str, ...]:
    """The strings as a tuple; raise unless all of them are texts, none of them empty."""
    many = isinstance(strings, Iterable) and not isinstance(strings, str)
    if not many or not all(isinstance(s, str) and s for s in strings):
        because = "it takes a list of texts, none of them empty"
        raise PocketError(
            f"{strings!r:.60} are no stop strings", because, 'pass a list such as ["The end"]'
        )
    return tuple(strings)
