"""What the states hold of a text: one table of moves for the Python class and the runner's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from history_moves import CHUNK, CONTEXT, STORIES, Story
from native import DRIVERS, with_library
from toy import CHUNK as TOY_CHUNK
from toy import C, Toy

from toolkit.errors import PocketError
from toolkit.executors.history import History
from toolkit.executors.open import open_executor
from toolkit.plan.schema import Plan, State

Facts = tuple[int, int, int]


def plan_of(ring: int) -> Plan:
    model = {"max_context": CONTEXT, "prefill_chunk": CHUNK}
    states = (State(0, "layers.0", "k", "append", 0, ring),)
    return cast(Plan, SimpleNamespace(model=model, states=states))


def least(held: list[int]) -> int:
    """Of positions that can be gone back to, which are 0 and all from the answer on."""
    first = held[1]
    assert held == [0, *range(first, CONTEXT + 1)]
    return first


def in_python(story: Story) -> list[Facts]:
    history, found = History(plan_of(story.ring)), []
    for move, _ in story.moves:
        word, *numbers = move.split()
        a, b = (*map(int, numbers), 0, 0)[:2]
        if word == "feed":
            history.feed([7] * b, a)
        elif word == "reach":
            history.reach(a, b)
        elif word == "fail":
            history.fail(a, b)
        elif word == "append":
            history.append(7)
        else:
            history.restore([7] * a, b)
        held = [past for past in range(CONTEXT + 1) if history.holds(past)]
        found.append((history.reached, history.length, least(held)))
    return found


def in_the_runner(story: Story) -> list[Facts]:
    lines = [f"plan {CONTEXT} {CHUNK} {story.ring}", *(move for move, _ in story.moves)]
    program = with_library("history_drive", DRIVERS / "history_drive.cpp")
    done = subprocess.run(program, input="\n".join(lines), capture_output=True, text=True)
    rows = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    return [(reached, length, least(held)) for reached, length, *held in rows]


@pytest.mark.parametrize("moves", [in_python, in_the_runner])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_what_is_held_after_each_move(story: Story, moves: Callable[[Story], list[Facts]]) -> None:
    assert moves(story) == [expected for _, expected in story.moves]


def test_only_what_is_held_can_be_saved() -> None:
    history = History(plan_of(8))
    history.feed([3, 1, 4], 0)
    assert history.first(2) == [3, 1] and history.first(0) == []
    for past in (-1, 4):
        with pytest.raises(PocketError, match=f"there are no {past} positions") as caught:
            history.first(past)
        assert "a text of 3 tokens" in caught.value.because


TEXT = [5, 3, 8, 1, 9, 2, 7, 4, 6, 0, 11, 13]
# Fed at a position: a new text, more of it, a rewind into it, one token, all rows, a new text.
FED = (("prefill", 0, 9), ("prefill", 9, 3), ("prefill", 4, 6), ("step", 7, 1), ("score", 2, 5))


@pytest.mark.parametrize("on", ["host", "runner"])
def test_executors_hold_what_was_fed(toy: Toy, on: str, cache: Path) -> None:
    options: dict[str, Any] = {"cache": cache, "phases": ("prefill", "decode", "score")}
    executor = open_executor(toy.folder, on, **(options if on == "runner" else {}))
    held: list[int] = []
    try:
        for verb, past, count in (*FED, ("prefill", 0, TOY_CHUNK + 1)):
            ids = TEXT[:count]
            held[past:] = ids
            run: Any = getattr(executor, verb)
            run(ids[0] if verb == "step" else ids, past)
            reached = executor.history.reached
            assert executor.history.first(len(held)) == held
            assert executor.history.length == len(held) <= reached <= C
            if past:
                assert executor.step(9, len(held)) == toy.next([*held, 9])
                held.append(9)
    finally:
        executor.close()
