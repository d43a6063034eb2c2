"""The toy with so many records that a process shows what memory their slots take."""

from __future__ import annotations

from pathlib import Path

from flash_toy import RECORD, FlashToy

MANY = 60_000  # records of each of two tables
REST = 1_000_000  # bytes beside slots, let us say


def large(folder: Path, count: int = MANY) -> FlashToy:
    """With slots for none of the records, and for all."""
    toy = FlashToy(folder, count=count, strides=(RECORD.nbytes,) * 2)
    none, all_of = dict(toy.plan["points"][0]), dict(toy.plan["points"][2])
    none |= {"slots": [0, 0], "pinned": [0, 0], "memory": REST}
    all_of |= {"memory": REST + 2 * count * RECORD.nbytes, "policy": "lfu"}
    toy.plan["points"] = [none, all_of]
    toy.save_json()
    return toy
