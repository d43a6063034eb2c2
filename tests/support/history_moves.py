"""Moves of a text over its states, and what is held after each: for every History that there is.

A move is `feed PAST COUNT`, `fail PAST COUNT` (a run of them that failed), `reach PAST COUNT`
(steps whose ids come later), `append` (one such id) or `restore COUNT REACHED`. What holds after
it: how far the states were filled, how many positions are held, and the least position but 0 that
can be gone back to.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTEXT, CHUNK = 20, 4


@dataclass(frozen=True)
class Story:
    """Moves over a plan whose smallest state has `ring` slots."""

    name: str
    ring: int
    moves: tuple[tuple[str, tuple[int, int, int]], ...]


STORIES = (
    Story(
        "a text that grows",
        CONTEXT,
        (("feed 0 4", (4, 4, 1)), ("feed 4 3", (7, 7, 1)), ("feed 7 13", (20, 20, 1))),
    ),
    Story(
        "a rewind keeps what was filled",
        CONTEXT,
        (("feed 0 9", (9, 9, 1)), ("feed 5 1", (9, 6, 1)), ("feed 6 1", (9, 7, 1))),
    ),
    Story(
        "a new text forgets the old one",
        8,
        (("feed 0 12", (12, 12, 8)), ("feed 0 2", (2, 2, 1)), ("feed 2 7", (9, 9, 5))),
    ),
    Story(
        "a ring forgets what lies more than a chunk back",
        8,
        (("feed 0 8", (8, 8, 1)), ("feed 8 1", (9, 9, 5)), ("feed 6 1", (9, 7, 5))),
    ),
    Story(
        "steps run ahead of their ids",
        8,
        (
            ("feed 0 3", (3, 3, 1)),
            ("reach 3 2", (5, 3, 1)),
            ("append", (5, 4, 1)),
            ("append", (5, 5, 1)),
            ("append", (5, 5, 1)),  # the last id is chosen and not fed
            ("reach 5 4", (9, 6, 5)),
        ),
    ),
    Story(
        "a run that fails",
        8,
        (
            ("feed 0 9", (9, 9, 5)),
            ("feed 4 4", (9, 8, 5)),
            ("fail 4 4", (9, 4, 5)),
            ("feed 4 1", (9, 5, 5)),
            ("fail 7 3", (10, 5, 6)),  # steps ahead of their ids
            ("fail 0 4", (4, 0, 1)),
        ),
    ),
    Story(
        "a state file",
        8,
        (("feed 0 2", (2, 2, 1)), ("restore 6 11", (11, 6, 7)), ("feed 6 1", (11, 7, 7))),
    ),
)
