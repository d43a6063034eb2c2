"""Batches of texts of different lengths, padded on the left: each as if it were alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import COLLECTION, DEMO

import toolkit
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.judging import measure
from toolkit.executors.batch.interface import BatchExecutor, left_padded
from toolkit.executors.batch.open import open_batch
from toolkit.executors.open import open_executor

LIMIT = 1e-8  # NMSE of logits
BATCH, CONTEXT, CHUNK = 3, 40, 8
RECORDED = sorted(COLLECTION.rglob("ref_io_b2pad.npz"))
QUICK = ("random/mistral/dynamo",)
EACH_EXECUTOR = pytest.mark.parametrize("on", ["host", "runner"])


def recorded() -> Iterator[Any]:
    for file in RECORDED:
        name = str(file.parent.relative_to(COLLECTION))
        yield pytest.param(file, id=name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("file", [*recorded()])
def test_recorded_batches(file: Path, tmp_path: Path) -> None:
    """What ONNX Runtime answered: a prefill, then steps with the cache fed back."""
    plan = toolkit.compile(file.parent, tmp_path / "x.plan", batch=2, max_context=64, device="pocl")
    for on in ("host", "runner"):
        executor = open_batch(plan.path, on)
        check_recorded(executor, np.load(file))
        executor.close()


def check_recorded(executor: BatchExecutor, steps: Any) -> None:
    ids, wanted = steps["step0.in.input_ids"], steps["step0.out.logits"]
    real = steps["step0.in.attention_mask"].astype(bool)
    executor.begin(real.argmax(axis=1).tolist())
    check(executor.score(ids, 0)[real], wanted[real])
    chosen = executor.prefill(ids, 0)
    check(executor.logits(), wanted[:, -1])
    assert chosen.tolist() == wanted[:, -1].argmax(axis=-1).tolist()
    past, number = ids.shape[1], 1
    while f"step{number}.in.input_ids" in steps:
        chosen = executor.step(steps[f"step{number}.in.input_ids"][:, 0], past)
        wanted = steps[f"step{number}.out.logits"][:, -1]
        check(executor.logits(), wanted)
        assert chosen.tolist() == wanted.argmax(axis=-1).tolist()
        past, number = past + 1, number + 1
    assert number > 2


def check(ours: np.ndarray, reference: np.ndarray) -> None:
    figures = measure(ours, reference)
    assert figures["nmse"] < LIMIT, figures


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"max_context": CONTEXT, "prefill_chunk": CHUNK, "device": "pocl"}
    path = tmp_path_factory.mktemp("batch") / "demo.plan"
    return toolkit.compile(DEMO, path, batch=BATCH, **sizes).path


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.original(load_source(DEMO))


def random_texts(lengths: Sequence[int], seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [[int(i) for i in random.integers(3, 1000, length)] for length in lengths]


def continued(reference: Reference, text: Sequence[int], count: int) -> list[int]:
    """Greedy ids of a text alone."""
    reference.reset()
    ids, logits = list[int](), reference.feed(list(text))
    for _ in range(count):
        ids.append(int(logits[-1].argmax()))
        logits = reference.feed(ids[-1:])
    return ids


@EACH_EXECUTOR
@pytest.mark.parametrize("lengths", [(1, 19, 8), (17, 17, 2)])
def test_texts_of_a_batch_go_on_as_they_do_alone(
    plan: Path, reference: Reference, on: str, lengths: Sequence[int]
) -> None:
    """In several chunks, of which the first ones are all padding of the shorter texts."""
    texts = random_texts(lengths, sum(lengths))
    with toolkit.BatchSession(plan, on) as session:
        found = list(session.generate(texts, 12, stop=()))
        assert session.stop_reasons == ["length"] * BATCH
        # A second batch, shorter than the first and with a row to spare, sees nothing of it.
        again = list(session.generate(texts[::-1][:2], 3, stop=()))
    assert [list(ids) for ids in zip(*found, strict=True)] == [
        continued(reference, text, 12) for text in texts
    ]
    assert [list(ids) for ids in zip(*again, strict=True)] == [
        continued(reference, text, 3) for text in texts[::-1][:2]
    ]


@EACH_EXECUTOR
def test_rows_end_by_themselves(plan: Path, reference: Reference, on: str) -> None:
    texts = random_texts((5, 9), 1)
    alone = [continued(reference, text, 12) for text in texts]
    stop = next(token for token in alone[0] if token not in alone[1])
    end = alone[0].index(stop) + 1
    with toolkit.BatchSession(plan, on) as session:
        first, second = zip(*session.generate(texts, 12, stop={stop}), strict=True)
        assert first == (*alone[0][:end], *[None] * (12 - end)) and list(second) == alone[1]
        assert session.stop_reasons == ["eos", "length"]
        *_, last = session.generate(texts, 100, stop=())
        assert None not in last and session.stop_reasons == ["context", "context"]


@EACH_EXECUTOR
def test_logits_of_real_positions(plan: Path, reference: Reference, on: str) -> None:
    texts = random_texts((3, 13, 10), 5)
    rows, start = left_padded(texts)
    executor = open_batch(plan, on)
    executor.begin(start)
    found = executor.score(rows, 0)
    for row, (text, first) in enumerate(zip(texts, start, strict=True)):
        reference.reset()
        check(found[row, first:], reference.feed(text))
    executor.close()


def test_sampling_is_the_same_on_both(plan: Path) -> None:
    sampling = toolkit.Sampling(temperature=1.0, seed=7, repetition_penalty=1.3)
    found = []
    for on in ("host", "runner"):
        with toolkit.BatchSession(plan, on) as session:
            texts = random_texts((4, 11, 6), 2)
            found.append(list(session.generate(texts, 10, stop=(), sampling=sampling)))
    assert found[0] == found[1]


@EACH_EXECUTOR
def test_what_is_no_batch(plan: Path, on: str) -> None:
    with toolkit.BatchSession(plan, on) as session:
        for texts in ([], [[1]] * (BATCH + 1)):
            with pytest.raises(PocketError, match="prompts can't be run at once"):
                session.generate(texts)
        with pytest.raises(PocketError, match="don't fit into the context"):
            session.generate([[1], [2] * (CONTEXT + 1)])
        executor = session.executor
        with pytest.raises(PocketError, match="no logits yet"):
            executor.logits()
        for start in ([0, 0], [0, 0, -1], [0, 0, CONTEXT]):
            with pytest.raises(PocketError, match="can't begin"):
                executor.begin(start)
        for shape in ((2, 4), (BATCH,)):
            with pytest.raises(PocketError, match="are no batch"):
                executor.prefill(np.ones(shape, np.int64), 0)


@EACH_EXECUTOR
def test_a_session_of_one_text_names_the_one_of_several(plan: Path, on: str) -> None:
    with pytest.raises(PocketError, match=f"of batch {BATCH}") as error:
        open_executor(plan, on)
    assert "BatchSession" in (error.value.hint or "")
