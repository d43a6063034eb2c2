"""What callers from Python hand over: taken in any sensible form, else an error in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolkit
from toolkit.arguments import path_of, token_ids
from toolkit.errors import PocketError
from toolkit.generation import session as module

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
IDS = [0, 7, 12]
SAME = [tuple(IDS), np.array(IDS), np.array([IDS], np.int32), [*map(np.int64, IDS)]]
WRONG: list[Any] = [None, 1.5, True, 3j, b"ab", {1: 2}, {1, 2}]
WRONG += [["a"], [[1, 2]], [[1], [2, 3]], [True], [None], [1.0], [-1], [10**6], [2**70], []]
WRONG += [np.array([1.5]), np.array([True]), np.array([[1], [2]]), np.array(3), "\udcff"]
OPTIONS: list[dict[str, Any]] = [{"max_new_tokens": v} for v in (0, -1, 2.5, "5", None, True)]
OPTIONS += [{"stop": v} for v in (2, "the end", [1.5], {"a"}, 3j)]
OPTIONS += [{"sampling": v} for v in (0.8, {"temperature": 1}, "greedy", toolkit.Sampling)]
OPTIONS += [{"stop_strings": v} for v in ("x", 5, [1], [""])]
COMPILE: list[dict[str, Any]] = [{"max_context": v} for v in ("2048", 0, 1.5, True)]
COMPILE += [{"batch": "2"}, {"prefill_chunk": 2.0}, {"weights": 4}, {"kv": "f8"}, {"device": 5}]
COMPILE += [{"activations": 3}, {"weights": "e0m4", "group": "32"}, {"weights": "e0m4", "keep": 5}]


def explained(call: Callable[[], Any]) -> PocketError:
    """The error of a call, with its three facts."""
    with pytest.raises(PocketError) as error:
        call()
    assert error.value.what and error.value.because and error.value.hint
    return error.value


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, executor: Any) -> toolkit.Session:
    monkeypatch.setattr(module, "open_executor", lambda path, on: executor)
    return toolkit.Session("anywhere")


@pytest.mark.parametrize("ids", SAME, ids=lambda ids: type(ids).__name__)
def test_ids_in_any_form(ids: Any) -> None:
    assert token_ids(ids) == IDS and {type(i) for i in token_ids(IDS)} == {int}


@pytest.mark.parametrize("ids", WRONG, ids=repr)
def test_what_is_no_prompt(session: Any, executor: Any, ids: Any) -> None:
    explained(lambda: session.generate(ids))
    assert executor.calls == [] and session.history == []


@pytest.mark.parametrize("ids", WRONG, ids=repr)
def test_what_is_nothing_to_score(session: Any, ids: Any) -> None:
    if repr(ids) != "[[1, 2]]":  # a tensor [1, tokens]
        explained(lambda: session.run({"tokens": ids}))
    explained(lambda: session.score(ids))


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_options_of_the_wrong_type(session: Any, executor: Any, options: dict[str, Any]) -> None:
    explained(lambda: session.generate([1], **options))
    assert executor.calls == []


@pytest.mark.parametrize("inputs", [None, 5, "text", [1, 2], {"x": 1}, {1: 2}])
def test_inputs_that_are_none(session: Any, inputs: Any) -> None:
    explained(lambda: session.run(inputs))


def test_places_that_are_none(session: Any) -> None:
    for position in (-1, 1.5, None, "a"):
        explained(lambda position=position: session.rewind(position))
    explained(lambda: session.resume(None))


@pytest.mark.parametrize("src", [123, None, "", b"x", ["a"], "a\0b", 3j])
def test_what_is_no_path(src: Any) -> None:
    explained(lambda: toolkit.compile(src))
    explained(lambda: toolkit.Session(src))
    explained(lambda: toolkit.compile(DEMO, src) if src is not None else toolkit.compile(src))


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_of("~/x", "", "") == path_of(tmp_path / "x", "", "") == tmp_path / "x"


@pytest.mark.parametrize("options", COMPILE, ids=repr)
def test_options_of_compile_of_the_wrong_type(tmp_path: Path, options: dict[str, Any]) -> None:
    explained(lambda: toolkit.compile(DEMO, tmp_path / "x.plan", **{"device": "pocl"} | options))
    assert list(tmp_path.iterdir()) == []


def test_an_executor_that_is_none(tmp_path: Path) -> None:
    explained(lambda: toolkit.Session(tmp_path, on="cloud"))


# --- text --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toolkit.compile(DEMO, tmp_path_factory.mktemp("text") / "x.plan", device="pocl").path


def test_text_in_and_out(compiled: Path) -> None:
    with toolkit.Session(compiled, on="host") as session:
        ids = session.encode("Once upon a time")
        new = list(session.generate("Once upon a time", max_new_tokens=6))
        assert session.history[: len(ids)] == ids and ids[0] == 0  # the start of a text
        assert session.decode(session.history) == "Once upon a time" + session.decode(new)
        assert session.encode("Once upon a time") == ids[1:]  # in the middle there is no start
        session.reset()
        assert list(session.generate(ids, max_new_tokens=6)) == new


def test_text_needs_a_tokenizer(compiled: Path) -> None:
    with toolkit.Session(compiled, on="host") as session:
        session.path = compiled / "kernels"  # where no tokenizer is
        for call in (session.generate, session.encode):
            assert "tokenizer.json" in explained(lambda call=call: call("Once")).because
        assert "tokenizer.json" in explained(lambda: session.decode([1])).because
