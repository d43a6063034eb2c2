"""Stop strings: wherever token borders fall, the text ends before them, and the cache with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolkit
from toolkit.errors import PocketError
from toolkit.executors.sampling import Sampling
from toolkit.generation.session import Session
from toolkit.generation.stop_strings import StopStrings
from toolkit.generation.tokenizer import Stream, Tokenizer, load_tokenizer

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
PROMPT = "Once upon a time"


class Letters:
    """A tokenizer of given pieces of bytes."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def decode(self, ids: list[int]) -> str:
        return b"".join(self.pieces[i] for i in ids).decode(errors="replace")


def fed(text: Any, ids: list[int], strings: list[str]) -> tuple[list[int], str, str | None]:
    """Ids released, the text told, and the string found."""
    stops, released = StopStrings(Stream(text), strings), list[int]()
    for token in ids:
        released += stops.push(token)
        if stops.found is not None:
            return released, text.decode(released) + stops.tail, stops.found
    released += stops.flush()
    return released, text.decode(released), None


def test_a_string_across_borders_in_the_midst_of_ids() -> None:
    text = Letters(b"Hello", b" wor", b"ld\nUs", b"er", b": hi")
    assert fed(text, [0, 1, 2, 3, 4], ["\nUser:"]) == ([0, 1], "Hello world", "\nUser:")


def test_text_is_held_back_only_while_it_may_begin_one() -> None:
    stops = StopStrings(Stream(Letters(b"a", b"E", b"N", b"D", b"x")), ["END"])
    assert [stops.push(i) for i in (0, 1, 2, 4, 1, 1, 2)] == [[0], [], [], [1, 2, 4], [], [1], []]
    assert stops.push(3) == [] and stops.found == "END" and stops.tail == ""


def test_characters_of_several_ids() -> None:
    text = Letters(b"x", b"\xe2", b"\x82", b"\xac", b"y", b"\xe2\x82\xac!")
    assert fed(text, [0, 1, 2, 3, 4], ["€"]) == ([0], "x", "€")
    assert fed(text, [0, 1, 2, 3, 4], ["y"]) == ([0, 1, 2, 3], "x€", "y")
    assert fed(text, [0, 5, 4], ["!"]) == ([0], "x€", "!")
    assert fed(text, [0, 1, 2], ["€"]) == ([0, 1, 2], "x\ufffd", None)


def test_random_texts() -> None:
    random = np.random.default_rng(3)
    pieces = [b"a", b"b", b"ab", b"ba", b"aab", b"c", "ä".encode(), b"\xc3", b"\xa4", b"bca"]
    text = Letters(*pieces)
    for _ in range(2000):
        ids = random.integers(0, len(pieces), 12).tolist()
        strings = ["".join(random.choice(list("abcä"), random.integers(1, 5))) for _ in range(2)]
        released, said, found = fed(text, ids, strings)
        assert released == ids[: len(released)]
        stream, whole = Stream(text), ""
        for token in ids:
            whole += stream.push(token)
            if any(s in whole for s in strings):
                break
        starts = [whole.find(s) for s in strings if s in whole]
        assert (found is None) == (not starts)
        assert said == (whole[: min(starts)] if starts else whole + stream.flush())


@pytest.mark.parametrize("strings", ["END", [""], [3], ["a", None]])
def test_what_can_be_no_stop_string(strings: Any) -> None:
    with pytest.raises(PocketError, match="stop strings"):
        StopStrings(Stream(Letters(b"a")), strings)


# --- with a model -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plans") / "demo.plan"
    return toolkit.compile(DEMO, out, device="pocl").path


@pytest.fixture(scope="module", params=["host", "runner"])
def session(request: Any, plan: Path) -> Any:
    with Session(plan, request.param) as session:
        yield session


@pytest.fixture(scope="module")
def text(plan: Path) -> Tokenizer:
    found = load_tokenizer(plan)
    assert found is not None
    return found


def story(
    session: Session, text: Tokenizer, *strings: str, count: int = 40
) -> tuple[list[int], str]:
    """Ids and text of a greedy run from the start."""
    session.reset()
    prompt = text.encode(PROMPT)
    ids = list(session.generate(prompt, count, stop_strings=strings))
    return ids, text.decode([*prompt, *ids])[len(text.decode(prompt)) :] + session.tail


def test_every_place_of_a_story(session: Session, text: Tokenizer) -> None:
    whole_ids, whole = story(session, text)
    for start in range(0, 60, 7):
        string = whole[start : start + 5]
        ids, said = story(session, text, string)
        assert said == whole[: whole.find(string)]
        assert ids == whole_ids[: len(ids)]
        assert (session.stop_reason, session.stop_string) == ("eos", string)


def test_the_cache_ends_where_the_ids_do(session: Session, text: Tokenizer) -> None:
    whole_ids, whole = story(session, text)
    string = whole[30:36]
    ids, _ = story(session, text, string)
    prompt = text.encode(PROMPT)
    assert session.history == [*prompt, *ids] and session.past <= len(session.history)
    rest = session.resume([*prompt, *whole_ids[: len(ids) + 1]])
    more = list(session.generate(rest, 10))
    assert more == whole_ids[len(ids) + 1 : len(ids) + 11]


def test_one_that_never_comes_changes_nothing(session: Session, text: Tokenizer) -> None:
    whole = story(session, text)
    assert story(session, text, "never, ever", "neither") == whole
    assert session.stop_string is None and session.stop_reason == "length"


def test_leaving_early_forgets_what_was_held_back(session: Session, text: Tokenizer) -> None:
    whole_ids, _ = story(session, text)
    session.reset()
    prompt = text.encode(PROMPT)
    tokens = session.generate(prompt, 40, stop_strings=["zzz"])
    got = [next(tokens) for _ in range(5)]
    tokens.close()
    assert got == whole_ids[:5] and session.history == [*prompt, *got]
    assert list(session.generate([], 5)) == whole_ids[5:10]


def test_the_first_word_may_be_one(session: Session, text: Tokenizer) -> None:
    _, whole = story(session, text)
    assert story(session, text, whole[:4]) == ([], "")
    assert session.past == len(session.history) == len(text.encode(PROMPT))


def test_sampled_texts_stop_too(session: Session, text: Tokenizer) -> None:
    session.reset()
    sampling = Sampling(temperature=1.0, seed=2, logprobs=True)
    ids = list(session.generate(text.encode(PROMPT), 60, sampling=sampling, stop_strings=["."]))
    assert session.stop_string == "." and "." not in text.decode(ids)
    assert len(session.logprobs()) == len(ids)


def test_a_plan_without_tokenizer(plan: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(DEMO, tmp_path / "model"))
    (copy / "tokenizer.json").unlink()
    bare = toolkit.compile(copy, tmp_path / "bare.plan", device="pocl").path
    with (
        Session(bare, "host") as session,
        pytest.raises(PocketError, match="can't look for stop strings"),
    ):
        session.generate([1], 3, stop_strings=["x"])
