"""A session feeds only what is new, stops for the right reason and keeps what was finished."""

from typing import Any

import numpy as np
import pytest

import toolkit
from toolkit.errors import PocketError
from toolkit.generation import session as module


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, executor: Any) -> toolkit.Session:
    monkeypatch.setattr(module, "open_executor", lambda path, on: executor)
    return toolkit.Session("anywhere")


def greedy(executor: Any, ids: list[int], count: int) -> list[int]:
    """The same text, each token chosen after everything was fed anew."""
    text = list(ids)
    for _ in range(count):
        text.append(int(np.argmax(executor.score(text, 0)[-1])))
    return text[len(ids) :]


def test_generates_what_feeding_everything_anew_would(session: Any, executor: Any) -> None:
    assert list(session.generate([3, 4], 10, stop=())) == greedy(executor, [3, 4], 10)
    assert session.stop_reason == "length"


def test_the_second_turn_feeds_only_what_is_new(session: Any, executor: Any) -> None:
    first = list(session.generate([3, 4], 5, stop=()))
    second = list(session.generate([9], 5, stop=()))

    assert second == greedy(executor, [3, 4, *first, 9], 5)
    # The last id of the first turn was told to the user, not to the model: it goes first.
    prefills = [call[1:] for call in executor.calls if call[0] == "prefill"]
    assert prefills == [([3, 4], 0), ([first[-1], 9], 6)]


def test_a_turn_left_early_can_be_continued(session: Any, executor: Any) -> None:
    first = []
    tokens = session.generate([3, 4], 50, stop=())
    for token in tokens:
        first.append(token)
        if len(first) == 3:
            break
    tokens.close()
    assert session.stop_reason == "cancel"
    assert list(session.generate([9], 4, stop=())) == greedy(executor, [3, 4, *first, 9], 4)


@pytest.mark.parametrize("at", [0, 4])
def test_stops_at_a_stop_id_and_yields_it(session: Any, executor: Any, at: int) -> None:
    stop = greedy(executor, [3], 10)[at]
    assert list(session.generate([3], 10, stop={stop}))[-1] == stop
    assert session.stop_reason == "eos"


def test_a_full_context_stops_without_shifting(session: Any) -> None:
    ids = [1] * 96
    new = list(session.generate(ids, 50, stop=()))
    assert (len(new), session.stop_reason) == (5, "context")  # 4 more are fed, 5 were chosen
    with pytest.raises(PocketError, match="context"):
        session.generate([1], 1)


def test_a_prompt_that_fills_the_context_gives_one_token(session: Any) -> None:
    assert len(list(session.generate([1] * 100, 50, stop=()))) == 1
    assert session.stop_reason == "context"


@pytest.mark.parametrize("ids", [[], [32], [-1], [1] * 101])
def test_bad_ids_are_refused_at_once(session: Any, executor: Any, ids: list[int]) -> None:
    with pytest.raises(PocketError):
        session.generate(ids)
    assert executor.calls == []


def test_score_after_generate_skips_the_pending_id(session: Any, executor: Any) -> None:
    new = list(session.generate([3, 4], 3, stop=()))
    logits = session.run({"tokens": np.array([[7, 8]])})["logits"]
    assert np.array_equal(logits, executor.score([3, 4, *new, 7, 8], 0)[-2:])
    assert session.past == 7


def test_run_names_unknown_inputs(session: Any) -> None:
    with pytest.raises(PocketError, match="pixels"):
        session.run({"pixels": [1]})


def test_reset_starts_anew(session: Any) -> None:
    first = list(session.generate([3, 4], 5))
    session.reset()
    assert list(session.generate([3, 4], 5)) == first


def test_closing_closes_the_executor(session: Any, executor: Any) -> None:
    with session:
        pass
    assert executor.closed
