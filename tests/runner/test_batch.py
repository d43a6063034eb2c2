"""The line protocol of plans with several texts: they are fed together, each from its beginning."""

from pathlib import Path
from typing import Any

import pytest
from binding import Refused
from talk import Start

import toolkit
from toolkit.cli.demo import MODEL

BATCH, TEXTS = 2, ([5, 6, 7, 8, 9], [0, 0, 11, 12, 13])
ALL = " ".join(str(i) for text in TEXTS for i in text)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"max_context": 32, "prefill_chunk": 4, "device": "pocl"}
    return toolkit.compile(
        MODEL, tmp_path_factory.mktemp("x") / "x.plan", batch=BATCH, **sizes
    ).path


@pytest.fixture
def talk(plan: Path, start: Start) -> Any:
    return start(plan, "--phases", "score")


def ids(answer: str) -> list[int]:
    word, *found, _seconds = answer.split()
    assert word == "ok" and len(found) == BATCH, answer
    return [int(each) for each in found]


def test_each_text_begins_behind_its_padding(talk: Any, plan: Path, start: Start) -> None:
    assert talk.ask("begin 0 2") == "ok"
    first = ids(talk.ask(f"prefill 0 {ALL}"))
    second = ids(talk.ask(f"step 5 {first[0]} {first[1]}"))
    # Side by side with itself and without padding, the second text goes on in the same way.
    alone = start(plan)
    short = " ".join(map(str, TEXTS[1][2:]))
    assert ids(alone.ask(f"prefill 0 {short} {short}")) == [first[1]] * BATCH
    assert ids(alone.ask(f"step 3 {first[1]} {first[1]}")) == [second[1]] * BATCH
    assert ids(talk.ask(f"prefill 0 {ALL.replace(' 0 0 ', ' 900 901 ')}")) == first


@pytest.mark.parametrize(
    "command, what",
    [
        ("prefill 0 1 2 3", "3 tokens can't be fed"),
        ("step 0 1", "1 tokens can't be fed"),
        ("step 0 1 2 3 4", "4 ids are no step"),
        (f"prefill 29 {ALL}", "5 tokens at position 29"),
        ("begin 0", "1 texts can't begin"),
        ("decode 0 1 3", "decode takes one text"),
        ("save 0 state", "a state file takes one text"),
        ("load state", "a state file takes one text"),
    ],
)
def test_what_a_batch_cannot_do(talk: Any, command: str, what: str) -> None:
    facts = talk.error(command)
    assert facts["what"].startswith(what) and facts["because"] and facts["hint"]


def test_an_app_runs_one_text(plan: Path) -> None:
    from binding import Handle, load

    with pytest.raises(Refused, match=f"the plan has batch {BATCH}") as refused:
        Handle(load(), plan)
    assert refused.value.hint == "compile with --batch 1"
