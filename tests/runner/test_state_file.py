"""State files: both executors write and read the same ones, and refuse what does not fit."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from talk import Start
from toy import CHUNK, C, D, Toy, V

from toolkit.errors import PocketError
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.generation.session import Session

TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9, 7, 9, 32, 38, 46]
WINDOW = 6
RING = WINDOW + CHUNK
EXECUTORS = ("runner", "host")
Open = Callable[..., Executor]


class RingToy(Toy):
    """The toy with a window: its state is a ring of a window and a chunk."""

    def save(self) -> None:
        self.sources["remember"] = self.sources["remember"].replace(
            "(PAST + row) * D", f"((PAST + row) % {RING}) * D"
        )
        self.sources["recall"] = (
            self.sources["recall"]
            .replace("int j = 0", f"int j = max(0, PAST + row - {WINDOW - 1})")
            .replace("state[j * D", f"state[(j % {RING}) * D")
        )
        self.plan["buffers"][3] |= {"shape": [RING, D], "bytes": 4 * RING * D}
        self.plan["states"][0]["capacity"] = RING
        super().save()

    def logits(self, ids: Any) -> Any:
        whole = super().logits(ids)
        for position in range(WINDOW, len(ids)):
            padded = [*ids[: position + 1]]
            mix = self._mix(position)
            whole[position] = mix @ self.table[padded].astype("f8") @ self.head
        return whole

    def _mix(self, p: int) -> Any:
        return [(p * 3 + j * 5) % 7 - 3.0 if j > p - WINDOW else 0.0 for j in range(p + 1)]


class TurnedToy(Toy):
    """The toy with a state [1, D, C]: the tokens lie along its last axis."""

    def save(self) -> None:
        for name, old, new in (
            ("remember", "state[(PAST + row) * D + d]", f"state[d * {C} + PAST + row]"),
            ("recall", "state[j * D + d]", f"state[d * {C} + j]"),
        ):
            self.sources[name] = self.sources[name].replace(old, new)
        self.plan["buffers"][3]["shape"] = [1, D, C]
        self.plan["states"][0]["axis"] = 2
        super().save()


@pytest.fixture(params=[Toy, RingToy, TurnedToy])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Toy:
    made: Toy = request.param(tmp_path / "toy plan")
    made.plan["model"]["source"] = {"path": "toy.onnx", "sha256": "a" * 64}
    made.save()
    return made


@pytest.fixture
def opened(cache: Path) -> Iterator[Open]:
    found: list[Executor] = []

    def run(folder: Path, on: str) -> Executor:
        found.append(open_executor(folder, on, **({"cache": cache} if on == "runner" else {})))
        return found[-1]

    yield run
    for executor in found:
        executor.close()


def reseal(content: bytes) -> bytes:
    """A file that was changed, with a checksum that is right."""
    body = content[:-65]
    return body + hashlib.sha256(body).hexdigest().encode() + b"\n"


def with_facts(content: bytes, **facts: Any) -> bytes:
    line, _, rest = content.partition(b"\n")
    return reseal(json.dumps(json.loads(line) | facts).encode() + b"\n" + rest)


@pytest.mark.parametrize("count", [1, 5, len(TEXT)])
@pytest.mark.parametrize("reads", EXECUTORS)
@pytest.mark.parametrize("writes", EXECUTORS)
def test_a_file_continues_the_text(
    model: Toy, opened: Open, tmp_path: Path, writes: str, reads: str, count: int
) -> None:
    file, text = tmp_path / "a state", TEXT[:count]
    first = opened(model.folder, writes)
    first.prefill(text, 0)
    first.save_state(file, count, {"say": "grüße\t\n"})
    second = opened(model.folder, reads)
    assert second.load_state(file) == count
    assert second.history.first(count) == text
    ids = list(second.decode(7, count, 9, ()))
    assert ids == model.continued([*text, 7], 9)


def test_both_executors_write_the_same_bytes(model: Toy, opened: Open, tmp_path: Path) -> None:
    files = [tmp_path / on for on in EXECUTORS]
    for on, file in zip(EXECUTORS, files, strict=True):
        executor = opened(model.folder, on)
        executor.prefill(TEXT, 0)
        executor.save_state(file, len(TEXT), {"a": [1, "é"]})
    heads, rests = zip(*(f.read_bytes()[:-65].split(b"\n", 1) for f in files), strict=True)
    assert json.loads(heads[0]) == json.loads(heads[1])
    assert rests[0] == rests[1]


@pytest.mark.parametrize("on", EXECUTORS)
def test_a_decoded_text_is_saved_with_its_ids(
    model: Toy, opened: Open, tmp_path: Path, on: str
) -> None:
    file, executor = tmp_path / "state", opened(model.folder, on)
    first = executor.prefill(TEXT[:4], 0)
    ids = [first, *executor.decode(first, 4, 20, ())]
    executor.save_state(file, 24, {})
    assert executor.history.first(24) == [*TEXT[:4], *ids[:20]]
    with pytest.raises(PocketError, match="no 26 positions"):
        executor.save_state(file, 26, {})
    again = opened(model.folder, "runner")
    assert again.load_state(file) == 24
    assert list(again.decode(ids[20], 24, 5, ())) == model.continued([*TEXT[:4], *ids], 5)


def test_a_session_keeps_its_last_id_and_a_note(model: Toy, tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "state"
    with Session(model.folder, cache=cache) as session:
        ids = list(session.generate(TEXT[:4], 6, stop=()))
        session.save_state(file, {"turn": 3})
        assert session.past == 10
    with Session(model.folder, "host") as session:
        assert session.load_state(file) == {"turn": 3}
        assert session.history == [*TEXT[:4], *ids]
        rest = session.resume(session.history)
        assert list(session.generate(rest, 5, stop=())) == model.continued([*TEXT[:4], *ids], 5)


@pytest.mark.parametrize("on", EXECUTORS)
def test_rewinding_works_however_far(model: Toy, tmp_path: Path, cache: Path, on: str) -> None:
    options = {"cache": cache} if on == "runner" else {}
    with Session(model.folder, on, **options) as session:
        text = [*TEXT, *session.generate(TEXT, 12, stop=())]
        for position in (len(text) - 2, 20, 19, 15, 9, 8, 3, 0):
            session.rewind(position)
            assert list(session.generate([11], 1, stop=())) == [model.next([*text[:position], 11])]
            session.resume(text[:position])
            session.rewind(position)
        fed = list(session.generate(TEXT, 3, stop=()))
        assert fed == model.continued(TEXT, 3)


@pytest.mark.parametrize("on", EXECUTORS)
def test_random_rewinds_and_reloads(model: Toy, tmp_path: Path, cache: Path, on: str) -> None:
    chance, file = random.Random(5), tmp_path / "state"
    with Session(model.folder, on, **({"cache": cache} if on == "runner" else {})) as session:
        for _ in range(60):
            if session.history and chance.random() < 0.3:
                session.rewind(chance.randrange(len(session.history)))
            if session.history and chance.random() < 0.3:
                session.save_state(file)
            if file.exists() and chance.random() < 0.3:
                session.load_state(file)
            keep = session.history[: chance.randint(0, min(len(session.history), 20))]
            text = [*keep, *chance.choices(range(1, V), k=chance.randint(1, 12))]
            expected = model.continued(text, 5)
            answer = session.generate(session.resume(text), 5, stop=())
            count = chance.choice([1, 2, 5])  # some are left early
            assert [next(answer) for _ in range(count)] == expected[:count]
            answer.close()
            assert session.history == text + expected[:count]


@pytest.mark.parametrize("reads", EXECUTORS)
def test_a_ring_remembers_through_a_file_how_far_it_was_filled(
    tmp_path: Path, cache: Path, opened: Open, reads: str
) -> None:
    ring = RingToy(tmp_path / "ring")
    executor = opened(ring.folder, "runner")
    executor.prefill([*TEXT, *TEXT], 0)
    history = executor.history
    assert (history.reached, history.holds(26), history.holds(25)) == (34, True, False)
    executor.save_state(tmp_path / "state", 30, {})
    again = opened(ring.folder, reads)
    again.load_state(tmp_path / "state")
    assert again.history.reached == 34
    assert again.prefill([5], 28) == ring.next([*TEXT, *TEXT[:11], 5])


def other_model(toy: Toy, content: bytes, tmp_path: Path) -> tuple[Path, bytes, str]:
    toy.plan["model"]["source"]["sha256"] = "b" * 64
    toy.save()
    return toy.folder, content, "belongs to another model"


def other_options(toy: Toy, content: bytes, tmp_path: Path) -> tuple[Path, bytes, str]:
    toy.plan["model"]["options"] = {"kv": "f16"}
    toy.save()
    return toy.folder, content, "belongs to another plan"


def shorter_context(toy: Toy, content: bytes, tmp_path: Path) -> tuple[Path, bytes, str]:
    toy.plan["model"]["max_context"] = len(TEXT) - 1
    toy.save()
    return toy.folder, content, "does not fit"


def changed(what: str, change: Callable[[bytes], bytes]) -> Any:
    def case(toy: Toy, content: bytes, tmp_path: Path) -> tuple[Path, bytes, str]:
        return toy.folder, change(content), what

    return case


def flipped(at: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        damaged = bytearray(content)
        damaged[at] ^= 4
        return bytes(damaged)

    return change


CASES = {
    "other model": other_model,
    "other options": other_options,
    "shorter context": shorter_context,
    "empty": changed("is not a state file", lambda c: b""),
    "something else": changed("is not a state file", lambda c: b"PK\3\4" * 100),
    "cut short": changed("is damaged", lambda c: c[:-1]),
    "cut in half": changed("is damaged", lambda c: c[: len(c) // 2]),
    "only a header": changed("is damaged", lambda c: c[: c.index(b"\n") + 1]),
    "no end of line": changed("is damaged", lambda c: c[:30]),
    "longer": changed("is damaged", lambda c: c + b"\n"),
    "bit of the header": changed("is damaged", flipped(40)),
    "bit of the ids": changed("is damaged", flipped(-200)),
    "bit of the rows": changed("is damaged", flipped(-70)),
    "bit of the checksum": changed("is damaged", flipped(-10)),
    "other version": changed("another version", lambda c: with_facts(c, pocketcl_state=2)),
    "no JSON": changed("is damaged", lambda c: reseal(c.replace(b"}", b"", 1))),
    "deep JSON": changed(
        "is damaged", lambda c: reseal(b'{"pocketcl_state": ' + b"[" * 99999 + b"\n" + c)
    ),
    "past as text": changed("is damaged", lambda c: with_facts(c, past="17")),
    "past of 0": changed("is damaged", lambda c: with_facts(c, past=0)),
    "negative past": changed("is damaged", lambda c: with_facts(c, past=-3)),
    "one row less": changed("is damaged", lambda c: with_facts(c, past=16)),
    "other states": changed("is damaged", lambda c: with_facts(c, states=["k"])),
    "reached too little": changed("is damaged", lambda c: with_facts(c, reached=3)),
    "no note": changed("is damaged", lambda c: with_facts(c, note=1)),
    "an id too large": changed(
        "is damaged", lambda c: reseal(c.replace(b"\n\3\0\0\0", b"\n\3\1\0\0", 1))
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("on", EXECUTORS)
def test_a_file_that_does_not_fit_changes_nothing(
    tmp_path: Path, opened: Open, on: str, name: str
) -> None:
    toy, file = Toy(tmp_path / "toy"), tmp_path / "state"
    toy.plan["model"]["source"] = {"path": "toy.onnx", "sha256": "a" * 64}
    toy.save()
    first = opened(toy.folder, "host")
    first.prefill(TEXT, 0)
    first.save_state(file, len(TEXT), {})
    folder, content, what = CASES[name](toy, file.read_bytes(), tmp_path)
    file.write_bytes(content)

    executor = opened(folder, on)
    executor.prefill(TEXT[:5], 0)
    with pytest.raises(PocketError, match=what) as caught:
        executor.load_state(file)
    assert caught.value.because and caught.value.hint and "state" in str(caught.value)
    assert executor.step(9, 5) == toy.next([*TEXT[:5], 9])


@pytest.mark.parametrize("on", EXECUTORS)
def test_a_file_that_is_not_there(toy: Toy, opened: Open, tmp_path: Path, on: str) -> None:
    with pytest.raises(PocketError, match="can't be read"):
        opened(toy.folder, on).load_state(tmp_path / "none")


@pytest.mark.parametrize("on", EXECUTORS)
def test_a_failed_save_leaves_the_old_file(toy: Toy, opened: Open, tmp_path: Path, on: str) -> None:
    executor = opened(toy.folder, on)
    executor.prefill(TEXT, 0)
    with pytest.raises(PocketError, match="can't be written"):
        executor.save_state(tmp_path / "nowhere/state", 3, {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(PocketError, match="can't be written"):
        executor.save_state(tmp_path / "folder", 3, {})
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith(".")] == []
    for past in (0, -1, 18):
        with pytest.raises(PocketError):
            executor.save_state(tmp_path / "state", past, {})
    assert not (tmp_path / "state").exists()


def test_the_lines_of_the_protocol(toy: Toy, start: Start, tmp_path: Path) -> None:
    talk, file = start(toy.folder), tmp_path / "with a space"
    talk.next("prefill 0 3 1 4")
    assert talk.ask(f"save 3 {file}") == "ok"
    assert talk.ask(f"load {file}") == "ok 3 3"
    assert talk.next("step 3 1") == toy.next([3, 1, 4, 1])
    assert "note" in talk.error(f"save 3 {file}\t[]")["what"]
    assert "not" in talk.error(f"save x {file}")["what"]
    assert "unknown" in talk.error("save 3")["what"]
    assert "unknown" in talk.error("load")["what"]
    shutil.rmtree(toy.folder)  # the loaded plan needs no file any more
    assert talk.ask(f"load {file}") == "ok 3 3"


def test_a_name_that_a_line_cannot_hold(toy: Toy, opened: Open, tmp_path: Path) -> None:
    executor = opened(toy.folder, "runner")
    executor.prefill(TEXT, 0)
    with pytest.raises(PocketError, match="can't be used"):
        executor.save_state(tmp_path / "a\nb", 3, {})


def test_sizes(model: Toy) -> None:
    assert (V, D, C, CHUNK) == (50, 16, 40, 8)  # what the numbers above count on
