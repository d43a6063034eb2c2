"""Phases that gather, in each launch mode: the same answers and the same traces, and as many
launches and waits as flash.md promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from flash_talk import IDS, is_right
from flash_toy import FlashToy
from launch_modes import in_mode, modes, skip_without
from scripts import TEXT, answers, script
from talk import Start, Talk
from together import add_steps, together
from toy import C

from toolkit.toolchain.opencl_loader import find_opencl

LITTLE, SOME, ALL = "100000", "200000", "300000"
MODES = {
    "plain": ("--cooperative", "off", "--recorded", "off"),
    "cooperative": ("--cooperative", "on", "--recorded", "off"),
    "command-buffer": ("--cooperative", "off", "--recorded", "on"),
}
OUTSIDE, RUNS = 9, 3  # dispatches of a decode step outside of its gathers, in runs without one
TOKENS = 10


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> FlashToy:
    toy = FlashToy(tmp_path_factory.mktemp("modes") / "flash toy")
    together(toy)
    add_steps(toy)
    return toy


def started(start: Start, toy: FlashToy, mode: str, *options: str, **env: str) -> Talk:
    return in_mode(start(toy.folder, *MODES[mode], *options, **env), mode)


@pytest.mark.parametrize("memory", [LITTLE, ALL])
def test_each_mode_computes_the_same(
    joined: FlashToy, start: Start, tmp_path: Path, memory: str
) -> None:
    """To the last bit, whether host or device selects; no trial of a mode is seen in a trace."""
    lines, found, traces = script(50, C, 8, 3)[:12], [], []
    for mode in MODES:
        for traced in (False, True):
            trace = tmp_path / mode
            more = ("--trace-access", str(trace)) if traced else ()
            talk = started(start, joined, mode, "--memory", memory, *more)
            found.append((answers(talk, lines, tmp_path / "logits"), talk.stats()["tables"]))
            assert talk.end()[0] == 0
            traces += [trace.read_bytes()] if traced else []
    # Not times, nor what a look at the storage has found.
    (first, counts), still = found[0], dict.fromkeys(("waited_s", "stalled_s", "direct"))
    for other, others in found:
        assert other == first
        assert others | still == counts | still
    assert traces[0] and traces == [traces[0]] * len(traces)


def test_the_right_ids(joined: FlashToy, start: Start) -> None:
    for memory in (LITTLE, ALL):
        talk = started(start, joined, "cooperative", "--memory", memory)
        first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")
        ids, _ = talk.decode(f"decode {len(TEXT)} {first} {TOKENS}")
        assert [first, *ids] == joined.continued(TEXT, TOKENS + 1)


def spent(
    start: Start, toy: FlashToy, fake: Path, log: Path, memory: str, mode: str
) -> tuple[int, int]:
    """Launches, and waits for what the host reads, of TOKENS tokens."""
    talk = counted(start, toy, fake, log, memory, mode)
    found = spent_now(talk, log)
    log.unlink()
    return found


def counted(start: Start, toy: FlashToy, fake: Path, log: Path, memory: str, mode: str) -> Talk:
    """A runner whose driver writes down what it is asked for."""
    env = {"FAKE_REAL": str(find_opencl()), "FAKE_LOG": str(log), "FAKE_LAUNCHES": "1"}
    return started(start, toy, mode, "--memory", memory, "--cl-lib", str(fake), **env)


def spent_now(talk: Talk, log: Path) -> tuple[int, int]:
    first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")
    for _ in range(3):  # tables of ops are written once for each ticket and memory
        talk.decode(f"decode {len(TEXT)} {first} {TOKENS}")
    begin = len(log.read_text())
    talk.decode(f"decode {len(TEXT)} {first} {TOKENS}")
    lines = log.read_text()[begin:].splitlines()
    return sum(line.startswith("launched") for line in lines), lines.count("read")


def test_launches_of_a_token(
    joined: FlashToy, start: Start, fake_driver: Path, tmp_path: Path
) -> None:
    """With all in memory one and no wait; else runs between gathers are one, and a gather that
    looks at scores waits once."""
    found = {
        (memory, mode): spent(start, joined, fake_driver, tmp_path / "log", memory, mode)
        for memory in (LITTLE, ALL)
        for mode in ("plain", "cooperative")
    }
    assert found[ALL, "cooperative"] == (TOKENS, 0)
    assert found[ALL, "plain"] == (TOKENS * (OUTSIDE + 3), 0)  # one chooses
    plain, waits = found[LITTLE, "plain"]
    # The last launch of each of the two gathers is part of the run behind it.
    assert found[LITTLE, "cooperative"] == (plain - TOKENS * (OUTSIDE - RUNS + 2), waits)
    assert waits == TOKENS


@pytest.mark.parametrize("mode", ["cooperative", "command-buffer"])
def test_another_budget_is_launched_as_if_begun_with(
    joined: FlashToy, start: Start, fake_driver: Path, tmp_path: Path, mode: str
) -> None:
    """The same launches, waits and answers; also where records came back to other slots."""
    log, told = tmp_path / "log", (joined, fake_driver, tmp_path / "log")
    fresh = dict[str, tuple[int, int]]()
    for memory in (LITTLE, SOME, ALL):
        begun = counted(start, *told, memory, mode)
        is_right(begun, joined)  # lfu keeps what was used most: it is fed the same texts
        fresh[memory] = spent_now(begun, log)
        log.unlink()
    talk = counted(start, *told, ALL, mode)
    for memory in (LITTLE, ALL, SOME, ALL, LITTLE):
        assert talk.ask(f"budget {memory}") == f"ok {memory}"
        assert spent_now(talk, log) == fresh[memory]
        assert modes(talk)["chosen"] == mode
        is_right(talk, joined)


def test_kernels_that_know_no_ticket_of_a_whole_table(tmp_path: Path, start: Start) -> None:
    """As those of plans from before: the host fills one for each step, pair by pair."""
    toy = FlashToy(tmp_path / "of before")
    sources = list((toy.folder / "kernels").iterdir())
    assert any("(WHOLE ?" in source.read_text() for source in sources)
    for source in sources:
        source.write_text(source.read_text().replace("(WHOLE ?", "(0 ?"))
    for phase in toy.plan["phases"]:
        for each in phase["steps"]:
            each.pop("whole", None)
    toy.save_json()
    for memory in (LITTLE, ALL):
        is_right(start(toy.folder, "--memory", memory), toy)


@pytest.mark.parametrize("wish", ["auto", "off"])
def test_a_mode_is_chosen_anew(joined: FlashToy, start: Start, wish: str) -> None:
    """Of times that are known nothing is true any more; what was refused stays so."""
    talk = start(joined.folder, "--recorded", "off", "--cooperative", wish)
    skip_without(talk, "cooperative")
    for memory in (LITTLE, ALL):
        assert talk.ask(f"budget {memory}") == f"ok {memory}"
        found = modes(talk)
        assert found["chosen"] == ("cooperative" if wish == "auto" else "plain")
        assert found["plain_us"] == found["cooperative_us"] == 0
        for _ in range(3):
            is_right(talk, joined, C - len(IDS))


def test_grids_by_records_stay_with_the_host(
    start: Start, fake_driver: Path, tmp_path: Path
) -> None:
    """Nobody else knows how many records are chosen: it looks at the scores."""
    toy = FlashToy(tmp_path / "flash toy")
    inside = toy.plan["phases"][1]["steps"][4]["dispatches"][0]
    inside["variants"][0]["global"] = [["records", 0, "*", 2, "+"]]
    toy.save_json()
    assert spent(start, toy, fake_driver, tmp_path / "log", ALL, "plain")[1] == TOKENS
