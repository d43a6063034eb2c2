"""Cooperative decode: one launch a step, the same tokens and bits as plain dispatches, or plain."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launch_modes import in_mode, modes, skip_without
from needed import needs
from scripts import TEXT, answers, errors_of, script
from talk import Start, Talk, failure
from together import add_steps, together, with_twist
from toy import C, Toy, fetch

from toolkit.errors import PocketError
from toolkit.executors.runner import RunnerExecutor

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"


@pytest.fixture
def joined(toy: Toy) -> Toy:
    return add_steps(together(toy))


@pytest.fixture(scope="session", params=["f32", "f16"])
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toolkit import compile

    folder, kind = tmp_path_factory.mktemp("demo") / "demo.plan", request.param
    report = compile(DEMO, folder, weights=kind, activations=kind, kv=kind)
    assert report.figures["cooperative"] == "decode"
    return folder


def cooperating(start: Start, folder: Path, *options: str) -> Talk:
    return in_mode(start(folder, "--cooperative", "on", *options), "cooperative")


def same_both_ways(start: Start, folder: Path, lines: list[str], file: Path) -> None:
    plain = start(folder, "--cooperative", "off", "--recorded", "off")
    expected = answers(plain, lines, file)
    assert answers(cooperating(start, folder), lines, file) == expected


# --- the same ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_toy_both_ways(joined: Toy, start: Start, tmp_path: Path, seed: int) -> None:
    same_both_ways(start, joined.folder, script(50, C, 8, seed), tmp_path / "logits")


def test_toy_is_right(joined: Toy, start: Start) -> None:
    talk = cooperating(start, joined.folder)
    first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")
    for _ in range(3):
        ids, _ = talk.decode(f"decode {len(TEXT)} {first} 20")
        assert [first, *ids] == joined.continued(TEXT, 21)


@pytest.mark.parametrize("seed", range(2))
def test_launches_that_come_and_go(toy: Toy, start: Start, tmp_path: Path, seed: int) -> None:
    add_steps(with_twist(together(toy)))
    same_both_ways(start, toy.folder, script(50, C, 8, seed), tmp_path / "logits")


def test_waits_between(toy: Toy, start: Start, tmp_path: Path) -> None:
    steps = together(toy).plan["phases"][1]["steps"]
    steps.insert(2, {"kind": "wait", "queue": 0})
    steps.insert(4, fetch(1))
    toy.save()
    same_both_ways(start, add_steps(toy).folder, script(50, C, 8, 5), tmp_path / "logits")


@pytest.mark.slow
def test_demo_both_ways(demo: Path, start: Start, tmp_path: Path) -> None:
    context = json.loads((demo / "plan.json").read_text())["model"]["max_context"]
    lines = script(512, 200, 20, 0)
    lines += [f"prefill 0 {' '.join(str(i % 509) for i in range(context - 60))}"]
    lines += [f"decode {context - 60} 7 55", f"step {context - 5} 9", f"decode {context - 30} 3 25"]
    same_both_ways(start, demo, lines, tmp_path / "logits")


@pytest.mark.slow
def test_demo_states_both_ways(demo: Path, start: Start, tmp_path: Path) -> None:
    saved = []
    for way in ("off", "on"):
        talk = start(demo, "--cooperative", way, "--recorded", "off")
        talk.next("prefill 0 3 1 4 1 5")
        ids, _ = talk.decode("decode 5 9 60")
        assert talk.ask(f"save 65 {tmp_path / way}") == "ok"
        saved.append((ids, (tmp_path / way).read_bytes()))
        other = start(demo, "--cooperative", "on")
        assert other.ask(f"load {tmp_path / way}").startswith("ok 65")
        saved.append((other.decode("decode 65 7 20")[0], b""))
    assert saved[0] == saved[2] and saved[1] == saved[3]


# --- the choice ----------------------------------------------------------------------------------


def test_chosen_by_measurement(joined: Toy, start: Start) -> None:
    talk = start(joined.folder)
    skip_without(talk, "cooperative")
    found = talk.ready["recorded"]["decode"]
    assert found["why"] == "measured" and found["cooperative_us"] > 0
    assert "cooperative" not in found["refused"]


def test_as_an_option_of_the_executor(joined: Toy, cache: Path) -> None:
    for way, chosen in (("on", "cooperative"), ("off", "plain")):
        executor = RunnerExecutor(joined.folder, cache=cache, recorded="off", cooperative=way)
        if executor.ready["platform"] == "Portable Computing Language":
            assert executor.stats()["recorded"]["decode"]["chosen"] == chosen
        first = executor.prefill(TEXT, 0)
        assert [first, *executor.decode(first, len(TEXT), 12, ())] == joined.continued(TEXT, 13)
        executor.close()


@pytest.mark.parametrize("name", ["COOPERATIVE", "RECORDED"])
def test_an_unknown_wish_is_named(joined: Toy, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"POCKETCL_{name}", "nonsense")
    with pytest.raises(PocketError, match=f"POCKETCL_{name} is 'nonsense'"):
        RunnerExecutor(joined.folder)


def test_by_the_environment(joined: Toy, start: Start) -> None:
    talk = start(joined.folder, POCKETCL_COOPERATIVE="off")
    assert modes(talk)["refused"]["cooperative"] == "asked for"
    assert start(joined.folder, "--cooperative", "maybe").end()[0] == 2


def edited_kernel(toy: Toy) -> None:
    file = toy.folder / "kernels/recall.cl"
    file.write_text(file.read_text() + "\n// mine\n")


def edited_plan(toy: Toy) -> None:
    file = toy.folder / "plan.json"
    file.write_text(file.read_text().replace('"toy.embed"', '"toy.embod"'))


def no_key(toy: Toy) -> None:
    del toy.plan["phases"][1]["cooperative"]
    toy.save()


def no_program(toy: Toy) -> None:
    toy.sources["decode.steps"] = "nonsense"
    toy.save()


def other_answers(toy: Toy) -> None:
    right = toy.sources["decode.steps"]
    toy.sources["decode.steps"] = right.replace("mix((j), p)", "mix((j), p + 1)")
    assert toy.sources["decode.steps"] != right
    toy.save()


def second_variants(toy: Toy) -> None:
    for phase in toy.plan["phases"]:
        variants = phase["steps"][0]["variants"]
        variants.insert(0, {**variants[0], "requires": ["int_dot"]})
    toy.save()


@pytest.mark.parametrize(
    "change, why",
    [
        (edited_kernel, "kernels/recall.cl was edited"),
        (edited_plan, "plan.json was edited"),
        (no_key, "the plan has no program for it"),
        (no_program, "the step kernel does not build"),
        (other_answers, "cooperative steps compute something else"),
        (second_variants, "runs as a variant"),
    ],
)
def test_where_it_cannot_be(
    joined: Toy, start: Start, change: Callable[[Toy], None], why: str
) -> None:
    change(joined)
    for way in ("auto", "on"):
        talk = start(joined.folder, "--cooperative", way)
        skip_without(talk, "cooperative")
        found = modes(talk)
        assert found["chosen"] != "cooperative" and why in found["refused"]["cooperative"]
        assert talk.decode("decode 0 3 12")[0] == joined.continued([3], 12)
        notes = errors_of(talk)
        assert ("note: the steps of decode are not cooperative: " in notes) == (way == "on")


def test_kernel_times_are_those_of_dispatches(joined: Toy, start: Start, tmp_path: Path) -> None:
    talk = start(joined.folder, "--cooperative", "on", "--profile")
    assert modes(talk)["refused"]["cooperative"] == "kernel times are taken"
    assert talk.ask("profile") == "ok"
    talk.decode("decode 0 3 4")
    assert talk.ask(f"profile {tmp_path / 'p'}") == "ok"
    assert len(json.loads((tmp_path / "p").read_text())) == 4 * 5


@pytest.mark.parametrize("value", [7, [1], {"program": 99}, {"program": "steps"}, {}])
def test_a_damaged_key_is_one_error(joined: Toy, start: Start, value: Any) -> None:
    joined.save_json(lambda plan: plan["phases"][1].update(cooperative=value))
    assert "phases[1].cooperative" in failure(start(joined.folder).first)["what"]


# --- Oclgrind ------------------------------------------------------------------------------------

LIBRARIES = ("/usr/lib/oclgrind/liboclgrind-rt-icd.so", "/usr/local/lib/liboclgrind-rt-icd.so")
LIBRARY = os.environ.get("POCKETCL_OCLGRIND") or next(filter(os.path.exists, LIBRARIES), "")


@pytest.mark.oclgrind
@needs(LIBRARY, "Oclgrind is not installed (apt install oclgrind)")
def test_oclgrind_finds_nothing(toy: Toy, start: Start) -> None:
    """Its device has one compute unit: no barrier, but every address of the table."""
    add_steps(with_twist(together(toy)))
    env = {"OCLGRIND_DATA_RACES": "1", "OCLGRIND_CHECK_API": "1", "OCL_ICD_VENDORS": LIBRARY}
    options = ("--platform", "Oclgrind", "--cooperative", "on", "--recorded", "off")
    talk = in_mode(start(toy.folder, *options, **env), "cooperative")
    assert len(talk.decode("decode 0 3 12")[0]) == 12
    assert errors_of(talk) == ""
