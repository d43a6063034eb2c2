"""Scripts for runners, the same for each way of launching, and what is answered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from talk import Talk

TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8]


def errors_of(talk: Talk) -> str:
    talk.send("quit")
    return talk.end()[1]


def script(vocabulary: int, context: int, chunk: int, seed: int) -> list[str]:
    """Prefills, forced steps and decodes at random positions, with rewinds; over 64 steps."""
    draw = random.Random(seed)
    lines, past, steps = [f"prefill 0 {' '.join(map(str, TEXT))}"], len(TEXT), 0
    while steps < 80:
        if past > context - 14 or draw.random() < 0.3:
            past = draw.randrange(1, past)  # what lies before is still there
        ids = [draw.randrange(vocabulary) for _ in range(draw.randrange(1, chunk + 4))]
        kind = draw.choice(["prefill", "step", "decode", "decode"])
        if kind == "prefill":
            lines.append(f"prefill {past} {' '.join(map(str, ids))}")
            past += len(ids)
        elif kind == "step":
            lines.append(f"step {past} {ids[0]}")
            past, steps = past + 1, steps + 1
        else:
            count = draw.randrange(1, 12)
            lines.append(f"decode {past} {ids[0]} {count}")
            past, steps = past + count, steps + count
    return lines


def answers(talk: Talk, lines: Sequence[str], file: Path) -> list[Any]:
    """The ids, and the bytes of the logits, after every line."""
    found: list[Any] = []
    for line in lines:
        found.append(talk.decode(line) if line.startswith("decode") else talk.next(line))
        assert talk.ask(f"logits {file}") == "ok"
        found.append(file.read_bytes())
    return found
