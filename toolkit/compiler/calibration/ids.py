"""The token ids that a model's values are measured on."""

from pathlib import Path

import numpy as np
import tokenizers

from toolkit.compiler.calibration.text import TEXT
from toolkit.compiler.source import Source
from toolkit.errors import PocketError

OWN, RANDOM = "PocketCL's own text", "random ids"
WITHOUT = "leave --calibrate away: our own text or random ids are read then"


def calibration_ids(
    source: Source, file: Path | None, vocabulary: int, count: int, hint: str = WITHOUT
) -> tuple[list[int], str]:
    """At most `count` ids of a model's vocabulary, and what they are.

    file  a text; None: TEXT, or random ids where there is no tokenizer of this model
    hint  what to do where it can't be read
    """
    if file is None:
        ids = _encoded(source, TEXT, vocabulary)
        return (ids[:count], OWN) if ids else (_random(vocabulary, count), RANDOM)
    try:
        ids = _encoded(source, file.read_text(encoding="utf-8"), vocabulary)
    except (OSError, UnicodeDecodeError) as error:
        raise PocketError(f"{file} is no text", error, "name a file of UTF-8 text") from None
    if not ids:
        what = f"{file} cannot be read with the model's tokenizer"
        because = "the file is empty, or no tokenizer.json with the model's vocabulary lies there"
        raise PocketError(what, because, hint)
    return ids[:count], str(file)


def _encoded(source: Source, text: str, vocabulary: int) -> list[int]:
    """The text after the token that begins one; empty without a tokenizer of the vocabulary."""
    path, bos = source.files.get("tokenizer.json"), source.generation.get("bos")
    if path is None:
        return []
    try:
        ids: list[int] = tokenizers.Tokenizer.from_file(str(path)).encode(text).ids
    except Exception:  # the library raises bare Exception; a plan can be made all the same
        return []
    first = [] if bos is None or ids[:1] == [bos] else [bos]
    return [] if not ids or max(ids) >= vocabulary else first + ids


def _random(vocabulary: int, count: int) -> list[int]:
    return [int(i) for i in np.random.default_rng(0).integers(0, vocabulary, count)]
