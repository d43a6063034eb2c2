"""Who is told that a text passes the length at which a model changes its rotary tables."""

from types import SimpleNamespace
from typing import Any

import pytest

from toolkit.generation.length_note import length_note

SHORT, CONTEXT = 12, 32


def session(held: int, text_length: int = 0, **model: int) -> Any:
    model = {"max_context": CONTEXT, "short_text": SHORT} | model
    return SimpleNamespace(model=model, history=[1] * held, text_length=text_length)


@pytest.mark.parametrize(
    "held, fresh, new, told",
    [
        (0, 5, 7, False),  # all of it is short
        (0, 5, 8, True),  # it becomes long while it is generated
        (0, 12, 1, True),
        (0, 13, 9, False),  # the prompt is long: all of it has the other tables
        (5, 9, 1, True),  # the second prompt is fed by the others, the first was not
        (13, 5, 5, False),  # it is so already
    ],
)
def test_texts_that_pass_it(held: int, fresh: int, new: int, told: bool) -> None:
    note = length_note(session(held), fresh, new)
    assert (note is not None) == told
    if note is not None:
        end = min(held + fresh + new, CONTEXT)
        assert f"beyond {SHORT} tokens" in note and f"--text-length {end}" in note


def test_where_it_is_known_or_makes_no_difference() -> None:
    assert length_note(session(0, text_length=SHORT + 1), 5, 20) is None
    assert length_note(session(0, short_text=0), 5, 20) is None
    assert length_note(session(0, max_context=SHORT), 5, 20) is None
