"""Models with other rotary tables for long texts (LongRoPE), fed in chunks, on both executors."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from click.testing import CliRunner
from exports import folder_of
from long_texts import EDGE, FREQUENCIES, long_decoder
from needed import here
from pass_helpers import text

import toolkit
from toolkit import cli
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.judging import measure
from toolkit.executors.open import open_executor
from toolkit.plan.load import load_plan

CONTEXT, CHUNK = 32, 8
SPELLINGS = [
    name if name == "of a shape" else pytest.param(name, marks=pytest.mark.slow)
    for name in FREQUENCIES
]
EACH_EXECUTOR = pytest.mark.parametrize("on", ["host", "runner"])
QUICK_ON_THE_HOST = pytest.mark.parametrize(
    "on", ["host", pytest.param("runner", marks=pytest.mark.slow)]
)


class Decoder:
    """One of FREQUENCIES as a plan, and in ONNX Runtime with the edge elsewhere."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        sizes = {"max_context": CONTEXT, "prefill_chunk": CHUNK, "device": "pocl"}
        self.plan = toolkit.compile(self.saved(EDGE), folder / "x.plan", **sizes).path

    def saved(self, edge: int) -> Path:
        path = self.folder / f"edge{edge}.onnx"
        ir.save(text(long_decoder(self.name, edge)), path)
        return path

    def reference(self, edge: int = EDGE) -> Reference:
        return Reference.original(load_source(self.saved(edge)))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Decoder]]:
    made = dict[str, Decoder]()

    def of(name: str) -> Decoder:
        if name not in made:
            made[name] = Decoder(tmp_path_factory.mktemp("plan"), name)
        return made[name]

    yield of


def ids_of(count: int, seed: int, vocabulary: int = 40) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(0, vocabulary, count)]


def close(ours: Any, reference: Any) -> None:
    figures = measure(np.stack(ours), np.stack(reference))
    assert figures["nmse"] < 1e-8, figures


def go_on_alike(reference: Reference, executor: Any, prompt: list[int], forced: list[int]) -> None:
    """Both have the same logits after a prompt, and after each of some ids that follow."""
    reference.reset()
    executor.prefill(prompt, 0)
    ours, theirs = [executor.logits()], [reference.feed(prompt)[-1]]
    for i, token in enumerate(forced):
        executor.step(token, len(prompt) + i)
        ours.append(executor.logits())
        theirs.append(reference.feed([token])[-1])
    close(ours, theirs)


@QUICK_ON_THE_HOST
@pytest.mark.parametrize("name", SPELLINGS)
def test_texts_below_at_and_above_the_edge(
    decoder: Callable[[str], Decoder], name: str, on: str
) -> None:
    """Chunks of a prompt are as the whole of it; later tokens change tables where they pass it."""
    made = decoder(name)
    reference, executor = made.reference(), open_executor(made.plan, on)
    for count in (EDGE - 2, EDGE, EDGE + 1, 2 * CHUNK + 3):
        prompt, forced = ids_of(count, count), ids_of(4, 100 + count)
        go_on_alike(reference, executor, prompt, forced)
        reference.reset()
        close(executor.score(prompt, 0), reference.feed(prompt))
    executor.close()


@EACH_EXECUTOR
def test_a_text_that_will_be_long_has_the_second_tables_from_the_start(
    decoder: Callable[[str], Decoder], on: str
) -> None:
    made = decoder("of a shape")
    always, text_ids = made.reference(edge=0), ids_of(EDGE + 6, 7)
    with toolkit.Session(made.plan, on, text_length=CONTEXT) as session:
        parts = [session.score(text_ids[at : at + 3]) for at in range(0, len(text_ids), 3)]
        close(np.concatenate(parts), always.feed(text_ids))
        session.reset()
        prompt, count = text_ids[:5], 12
        greedy, logits = list[int](), always.feed([0])
        always.reset()
        logits = always.feed(prompt)
        for _ in range(count):
            greedy.append(int(np.argmax(logits[-1])))
            logits = always.feed(greedy[-1:])
        assert list(session.generate(prompt, count, stop=())) == greedy


@EACH_EXECUTOR
def test_a_session_feeds_prompts_as_a_whole(decoder: Callable[[str], Decoder], on: str) -> None:
    """Also a second one, that takes a text over the edge: earlier keys stay as they are."""
    made = decoder("of a shape")
    reference = made.reference()
    with toolkit.Session(made.plan, on) as session:
        for count in (CHUNK + 1, CHUNK + 3):
            prompt = ids_of(count, count)
            (token,) = session.generate(prompt, 1, stop=())
            fed = [*session.history[: -count - 1][-1:], *prompt]  # the last id of the turn before
            assert token == int(np.argmax(reference.feed(fed)[-1]))


@EACH_EXECUTOR
@pytest.mark.parametrize("tokens", [-1, CONTEXT + 1])
def test_lengths_that_no_text_has(decoder: Callable[[str], Decoder], on: str, tokens: int) -> None:
    executor = open_executor(decoder("of a shape").plan, on)
    with pytest.raises(PocketError, match=f"a text cannot have {tokens} tokens"):
        executor.expect(tokens)
    executor.close()


@QUICK_ON_THE_HOST
def test_phi_4_mini_beyond_its_first_context(tmp_path: Path, on: str) -> None:
    """As the GenAI builder writes it: an If between two pairs of stored tables, at 64 tokens."""
    source = here(folder_of("more/decoders/phi4mini", "phi4mini64-genai-fp32"))
    plan = toolkit.compile(source, tmp_path / "x.plan", prefill_chunk=32, device="pocl").path
    reference, executor = Reference.original(load_source(source)), open_executor(plan, on)
    for count in (62, 64, 65, 100):
        prompt, forced = ids_of(count, count, 512), ids_of(4, count, 512)
        go_on_alike(reference, executor, prompt, forced)
    executor.close()


def test_a_plan_says_where_tables_change(decoder: Callable[[str], Decoder]) -> None:
    plan = load_plan(decoder("of a shape").plan)
    assert plan.model["short_text"] == EDGE
    symbol = next(symbol for symbol in plan.symbols if symbol.name == "text_length")
    assert (symbol.kind, symbol.min, symbol.max) == ("input", 0, CONTEXT)


def test_the_command_line_says_it_where_a_text_passes_that(
    decoder: Callable[[str], Decoder],
) -> None:
    command = ["run", str(decoder("of a shape").plan), "--ids", "1,2,3", "-n", str(EDGE)]
    told, known = (
        CliRunner().invoke(cli.cli, [*command, *more, "--on", "host"])
        for more in ((), ("--text-length", str(CONTEXT)))
    )
    assert told.exit_code == known.exit_code == 0
    assert f"beyond {EDGE} tokens" in told.stderr and "beyond" not in known.stderr
    assert told.stdout != known.stdout
