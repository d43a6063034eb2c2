"""Host and runner choose the ids that numpy chooses: the same texts, kept in golden.json.

A change of what the sampler means: pytest tests/generation --update-golden, and say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bigram import CHUNK, V, continued, table, write_bigram

from opencl_kernels.sampling.sample import logprob
from toolkit.errors import PocketError
from toolkit.executors.sampling import Sampling
from toolkit.executors.text_checks import can_sample
from toolkit.generation.session import Session
from toolkit.plan.schema import Plan

GOLDEN = Path(__file__).with_name("golden.json")
COUNT = 200
PROMPT = [17, 4, 999, 4, 250, 31, 7, 800, 4, 12, 77]  # more than a chunk
PENALTIES = {"repetition_penalty": 1.2, "presence_penalty": 0.4, "frequency_penalty": 0.3}
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    PENALTIES,
    {"temperature": 1.0},
    {"temperature": 0.7, "seed": 2**64 - 1},
    {"temperature": 1.3, "top_k": 40, "seed": 1},
    {"temperature": 1.0, "top_k": 256, "seed": 2},
    {"temperature": 1.0, "top_p": 0.9, "seed": 3},
    {"temperature": 2.0, "min_p": 0.1, "seed": 4},
    {"temperature": 0.8, "seed": 5, **PENALTIES, "window": 16},
    {"temperature": 1.1, "top_k": 100, "top_p": 0.95, "min_p": 0.02, "seed": 6, **PENALTIES},
)
EXECUTORS = [("host", "sample_cpu"), ("host", "sample"), ("runner", "sample_cpu")]


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return table()


@pytest.fixture(scope="module", params=EXECUTORS, ids="-".join)
def opened(
    request: Any, logits: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    on, kernel = request.param
    out = tmp_path_factory.mktemp("bigram") / "bigram.plan"
    write_bigram(out, logits, kernel)
    with Session(out, on) as session:
        yield session


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    return opened


def written(session: Session, count: int = COUNT, **options: Any) -> list[int]:
    """What a session writes behind the prompt."""
    session.reset()
    return list(session.generate(PROMPT, count, sampling=Sampling(**options)))


def test_golden_texts_are_what_numpy_writes(logits: np.ndarray, update_golden: bool) -> None:
    texts = [{"options": o, "ids": continued(logits, PROMPT, COUNT, **o)} for o in OPTIONS]
    if update_golden:
        lines = ",\n".join(json.dumps(text) for text in texts)
        GOLDEN.write_text(f'{{"prompt": {PROMPT},\n"texts": [\n{lines}\n]}}\n')
    assert json.loads(GOLDEN.read_text()) == {"prompt": PROMPT, "texts": texts}


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_executors_write_the_golden_texts(session: Session, number: int) -> None:
    golden = json.loads(GOLDEN.read_text())["texts"][number]
    assert written(session, **golden["options"]) == golden["ids"]


def test_seeds_repeat_and_differ(session: Session) -> None:
    texts = [written(session, 50, temperature=1.0, seed=s) for s in (1, 2, 1, 2**32 + 1)]
    assert texts[0] == texts[2]
    assert len({tuple(text) for text in texts}) == 3


def test_top_k_of_one_is_greedy(session: Session) -> None:
    assert written(session, 50, temperature=5.0, top_k=1) == written(session, 50)
    assert written(session, 50, temperature=5.0, top_p=0.0) == written(session, 50)


def test_a_text_may_be_cut_anywhere(session: Session) -> None:
    """A draw depends on seed and position, not on what was run before."""
    sampling = Sampling(temperature=1.0, seed=9, repetition_penalty=1.3)
    whole = written(session, 40, temperature=1.0, seed=9, repetition_penalty=1.3)
    session.rewind(len(PROMPT))
    rest = session.resume([*PROMPT, *whole[:15]])
    assert list(session.generate(rest, 25, sampling=sampling)) == whole[15:]


def test_scored_text_is_penalised(session: Session) -> None:
    """The score phase has no step that notes what is fed."""
    options = {"presence_penalty": 8.0}
    expected = written(session, 20, **options)
    session.reset()
    list(session.generate([5] * 20, 2))
    session.reset()
    session.score(PROMPT[:-1])
    assert list(session.generate(PROMPT[-1:], 20, sampling=Sampling(**options))) == expected


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_logprobs_are_those_of_the_model(
    session: Session, logits: np.ndarray, temperature: float
) -> None:
    ids = written(session, 30, temperature=temperature, logprobs=True, **PENALTIES)
    text = [*PROMPT[-1:], *ids]
    expected = [logprob(logits[a], b) for a, b in pairwise(text)]
    np.testing.assert_allclose(session.logprobs(), expected, atol=2e-5)
    assert session.executor.logprobs(3, 3).size == 0


@pytest.mark.parametrize("positions", [(-1, 2), (3, 2), (0, 300)])
def test_logprobs_of_no_position(session: Session, positions: tuple[int, int]) -> None:
    with pytest.raises(PocketError, match="no positions"):
        session.executor.logprobs(*positions)


def test_logits_that_are_no_numbers(logits: np.ndarray, tmp_path: Path) -> None:
    broken = logits.copy()
    broken[17, 500] = np.nan
    write_bigram(tmp_path / "nan.plan", broken)
    for on in ("host", "runner"):
        with Session(tmp_path / "nan.plan", on) as session:
            with pytest.raises(PocketError, match="not numbers"):
                list(session.generate([17], 3, sampling=Sampling(temperature=1.0)))
            session.reset()
            assert len(list(session.generate([4], 3, sampling=Sampling(temperature=1.0)))) > 0


def test_a_plan_without_sampling_is_greedy_only(session: Session) -> None:
    plan = session.executor.plan
    old = Plan(**{**vars(plan), "buffers": plan.buffers[:3]})
    assert can_sample(plan, Sampling(temperature=1.0)) and not can_sample(old, Sampling())
    with pytest.raises(PocketError, match="likeliest"):
        can_sample(old, Sampling(temperature=1.0))


def test_sizes_leave_tails() -> None:
    assert V % 16 and V % 2 and len(PROMPT) % CHUNK
