"""Text to token ids and back; a stream decodes ids one by one without splitting a character."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tokenizers

from toolkit.errors import PocketError

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
UNFINISHED = "\ufffd"  # decoders write it for bytes that are no character (yet)


class Tokenizer:
    """The tokenizer of a plan or of a model's folder."""

    def __init__(self, folder: Path, bos: int | None = None) -> None:
        self.backend = _load(folder / TOKENIZER_FILE)
        self._bos = bos if _adds_bos(folder / TOKENIZER_CONFIG) else None

    def encode(self, text: str, special: bool = True) -> list[int]:
        """The ids of a prompt, with the special tokens that the model expects around it.

        special  False for a text that contains them already, as chat templates do
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            because = f"character {error.start} is {text[error.start]!a}"
            raise PocketError("the text is not UTF-8", because, "pass a text in UTF-8") from None
        ids: list[int] = self.backend.encode(text, add_special_tokens=special).ids
        if not special:
            return ids
        return ids if self._bos is None or ids[:1] == [self._bos] else [self._bos, *ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        return str(self.backend.decode(list(ids), skip_special_tokens=True))

    def stream(self, prompt: Sequence[int] = ()) -> "Stream":
        """Decode the ids that follow a prompt, one at a time."""
        return Stream(self, prompt)


class Stream:
    """Ids in, text out as soon as its characters are complete.

    Some decoders treat the start of a text specially and drop its first space. So new ids are
    decoded together with the last ones before them, and the new text is what they add.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._known = list(prompt[-8:])  # their text is out; a character has at most 4 bytes
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
        """The rest at the end of a text, incomplete characters included."""
        piece, self._new = self._piece(), []
        return piece

    def _piece(self) -> str:
        before = self._tokenizer.decode(self._known)
        return self._tokenizer.decode(self._known + self._new)[len(before) :]


def load_tokenizer(
    folder: Path, model: Mapping[str, Any] = MappingProxyType({})
) -> Tokenizer | None:
    """The tokenizer next to a model or in a plan; None if there is none."""
    if not (folder / TOKENIZER_FILE).exists():
        return None
    tokenizer = Tokenizer(folder, model.get("bos"))
    theirs = tokenizer.backend.get_vocab_size()
    ours = int(model.get("vocab_size", sys.maxsize))
    if theirs > ours:
        raise PocketError(
            "the tokenizer does not belong to this model",
            f"{folder / TOKENIZER_FILE} has {theirs} tokens, the model {ours}",
            "take tokenizer.json from the folder of this model",
        )
    return tokenizer


def read_text(path: Path) -> str:
    """The text of a file, which must be UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PocketError(f"{path} cannot be read", error, "check the path") from None
    except UnicodeDecodeError as error:
        raise PocketError(
            f"{path} is not UTF-8 text",
            error,
            "convert it with iconv -t UTF-8, or name a text file",
        ) from None


def parse_ids(text: str) -> list[int]:
    """The ids of `--ids 1,2,3`."""
    parts = text.replace(",", " ").split()
    for part in parts:
        if not re.fullmatch("-?[0-9]{1,18}", part):
            raise PocketError(
                f"{text!a:.60} is not a list of token ids",
                f"{part!a:.30} is not an integer",
                "write it as --ids 1,2,3",
            )
    return [int(part) for part in parts]


def _load(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise PocketError(
            f"{path} is not a tokenizer", error, "take it from the model's folder again"
        ) from None


def _adds_bos(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("add_bos_token", False))
    except (OSError, ValueError, AttributeError):
        return False
