"""A runner of the toy whose weights lie in flash, asked line by line."""

from __future__ import annotations

from flash_toy import FlashToy
from talk import Talk

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
PREFILL = " ".join(["prefill 0", *map(str, IDS)])


def is_right(talk: Talk, toy: FlashToy, count: int = 6) -> None:
    """Prefill and decoding answer as numpy does."""
    first = talk.next(PREFILL)
    ids, _ = talk.decode(f"decode {len(IDS)} {first} {count}")
    assert [first, *ids] == toy.continued(IDS, count + 1)
