"""Text to token ids and back; ids become text piece by piece, never cutting a character."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tokenizers import Tokenizer

from toolkit.errors import PocketError

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
UNFINISHED = "\ufffd"  # what a decoder writes for bytes that are no character (yet)


class Text:
    """The tokenizer of a plan or of a model's folder."""

    def __init__(self, folder: Path, bos: int | None = None) -> None:
        self.tokenizer = _load(folder / TOKENIZER_FILE)
        self._bos = bos if _adds_bos(folder / TOKENIZER_CONFIG) else None

    def encode(self, text: str, special: bool = True) -> list[int]:
        """The ids of a prompt, with the special tokens that the model expects around it.

        special  False for a text that has them already, as chat templates write them
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            because = f"character {error.start} is {text[error.start]!a}"
            raise PocketError("the text is not UTF-8", because, "a text in UTF-8") from None
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=special).ids
        if not special:
            return ids
        return ids if self._bos is None or ids[:1] == [self._bos] else [self._bos, *ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def stream(self, prompt: Sequence[int] = ()) -> "Stream":
        """Decodes the ids that follow a prompt, one at a time."""
        return Stream(self, prompt)


class Stream:
    """Ids in, text out as soon as its characters are whole.

    A decoder may treat the start of a text apart (it drops the first space), so the last ids before
    the new ones are decoded along: the new text is what they add.
    """

    def __init__(self, text: Text, prompt: Sequence[int] = ()) -> None:
        self._text = text
        self._known = list(prompt[-8:])  # ids whose text is out; a character has at most 4 bytes
        self._new: list[int] = []

    def push(self, token: int) -> str:
        """The text that this id completes; often nothing."""
        self._new.append(token)
        piece = self._piece()
        if not piece or piece.endswith(UNFINISHED):
            return ""
        self._known, self._new = self._new[-8:], []
        return piece

    def flush(self) -> str:
        """What is left at the end, unfinished characters included."""
        piece, self._new = self._piece(), []
        return piece

    def _piece(self) -> str:
        before = self._text.decode(self._known)
        return self._text.decode(self._known + self._new)[len(before) :]


def load_text(folder: Path, model: Mapping[str, Any] = MappingProxyType({})) -> Text | None:
    """The tokenizer beside a model or in a plan; None where none came with it."""
    if not (folder / TOKENIZER_FILE).exists():
        return None
    text = Text(folder, model.get("bos"))
    theirs, ours = text.tokenizer.get_vocab_size(), int(model.get("vocab_size", sys.maxsize))
    if theirs > ours:
        raise PocketError(
            "the tokenizer does not belong to this model",
            f"{folder / TOKENIZER_FILE} has {theirs} tokens, the model {ours}",
            "take tokenizer.json from the folder of this very model",
        )
    return text


def read_text(path: Path) -> str:
    """The text of a file, which must be UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PocketError(f"{path} cannot be read", error, "check the path") from None
    except UnicodeDecodeError as error:
        raise PocketError(
            f"{path} is not UTF-8 text", error, "iconv -t UTF-8, or name a text file"
        ) from None


def parse_ids(text: str) -> list[int]:
    """The ids of `--ids 1,2,3`."""
    parts = text.replace(",", " ").split()
    for part in parts:
        if not re.fullmatch("-?[0-9]{1,18}", part):
            raise PocketError(
                f"{text!a:.60} is not a list of token ids", f"{part!a:.30} is none", "--ids 1,2,3"
            )
    return [int(part) for part in parts]


def _load(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise PocketError(
            f"{path} is not a tokenizer", error, "take it from the model's folder again"
        ) from None


def _adds_bos(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("add_bos_token", False))
    except (OSError, ValueError, AttributeError):
        return False
