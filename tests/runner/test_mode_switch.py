"""ModeSwitch: fast steps are left when they are held up, and come back; `took` is its clock."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from native import DRIVERS

RUNNER = Path(__file__).parents[2] / "android_runner"
PLAIN, FAST = 1000.0, 500.0
STOPPED = 1e8  # of such a step nobody can tell how long it took
Cost = Callable[[float], float]  # of a step, in microseconds, at a time in microseconds


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("mode_switch") / "drive"
    ours = [RUNNER / "executor/mode_switch.cpp", RUNNER / "base/json.cpp"]
    sources = [DRIVERS / "mode_switch_drive.cpp", *ours]
    compiler = shutil.which("g++") or shutil.which("c++") or ""
    command = [compiler, "-std=c++17", f"-I{RUNNER}", "-o", program, *sources]
    subprocess.run(command, check=True)
    return program


class World:
    """Steps whose times depend on their way and on when they run; two are under way at a time."""

    def __init__(self, program: Path, start: str = f"start {PLAIN} {FAST}") -> None:
        pipe = subprocess.PIPE
        self.child = subprocess.Popen([program], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.now, self.ahead, self.ways = 0.0, list[str](), list[str]()
        self.say(start)

    def say(self, line: str) -> None:
        assert self.child.stdin
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def hear(self, line: str) -> str:
        self.say(line)
        assert self.child.stdout
        return self.child.stdout.readline().strip()

    def run(self, until: float, plain: Cost, fast: Cost) -> float:
        """Run up to a time; returns steps per second."""
        begun, count = self.now, 0
        while self.now < until:
            while len(self.ahead) < 2:
                self.ahead.append(self.hear("step"))
            way = self.ahead.pop(0)
            self.ways.append(way)
            took = (fast if way == "cooperative" else plain)(self.now)
            self.now, count = self.now + took, count + 1
            self.say(f"took {took}" if took < STOPPED else "skip")
        return 1e6 * count / (self.now - begun)

    def facts(self) -> dict[str, Any]:
        return dict(json.loads(self.hear("json")))

    def notes(self) -> list[str]:
        return self.child.communicate()[1].splitlines()


@pytest.fixture
def world(drive: Path) -> Iterator[World]:
    world = World(drive)
    yield world
    world.child.kill()


def steady(cost: float, spread: float = 0.05) -> Cost:
    return lambda _: cost * random.uniform(1 - spread, 1 + spread)


def test_a_quiet_machine_stays_with_the_fast_way(world: World) -> None:
    world.run(4e6, steady(PLAIN), steady(FAST))
    assert world.ways[:500] == ["cooperative"] * 500
    assert world.ways.count("plain") < 0.04 * len(world.ways)
    facts = world.facts()
    assert facts["chosen"] == "cooperative" and facts["why"] == "measured"
    assert 900 < facts["plain_us"] < 1100 and 450 < facts["cooperative_us"] < 550
    assert world.notes() == []


@pytest.mark.parametrize("tried", [(PLAIN / 9, FAST / 9), (FAST / 9, PLAIN / 9)])
def test_steps_that_read_are_compared_with_steps_that_read(
    drive: Path, tried: tuple[float, float]
) -> None:
    """Trials, which read nothing, took a ninth of the time, whichever was faster."""
    world = World(drive, f"part {tried[0]} {tried[1]}")
    world.run(4e6, steady(PLAIN), steady(0.9 * PLAIN))
    assert world.ways[:16] == ["plain"] * 16 and world.ways.count("plain") < 0.06 * len(world.ways)
    assert world.facts()["chosen"] == "cooperative" and world.notes() == []


def test_other_steps_are_measured_anew(world: World) -> None:
    """Also where both under way are of the old kind: nobody takes their times for others'."""
    world.run(1e6, steady(PLAIN), steady(FAST))
    world.ahead = [world.hear("step"), world.hear("step")]
    world.say("anew")
    world.ways.clear()
    world.run(world.now + 4e6, steady(9 * PLAIN), steady(7 * PLAIN))
    assert world.ways[:18] == ["cooperative"] * 2 + ["plain"] * 16
    assert world.ways.count("plain") < 0.1 * len(world.ways)
    facts = world.facts()
    assert facts["chosen"] == "cooperative" and world.notes() == []
    assert facts["plain_us"] > 8 * PLAIN > facts["cooperative_us"] > 6 * PLAIN


def test_leaves_after_one_slow_step(world: World) -> None:
    world.run(1e5, steady(PLAIN), steady(FAST))
    world.ways.clear()
    world.run(world.now + 99 * PLAIN, steady(PLAIN), steady(20 * PLAIN))
    # The slow one, and the one that was on its way behind it.
    assert world.ways[:2] == ["cooperative"] * 2 and set(world.ways[2:]) == {"plain"}
    assert world.facts()["chosen"] == "plain"


@pytest.mark.parametrize("stall", [2, 50])
@pytest.mark.parametrize("often", [0.1, 1.0])
def test_under_load_it_is_hardly_slower_than_plain(
    world: World, stall: float, often: float
) -> None:
    random.seed(1)
    busy = 1.3 * PLAIN  # plain steps suffer, too

    def held_up(_: float) -> float:
        return stall * PLAIN if random.random() < often else FAST

    world.run(1e6, steady(PLAIN), steady(FAST))
    world.run(world.now + 5e6, steady(busy), held_up)
    rate = world.run(world.now + 10e6, steady(busy), held_up)
    assert rate > 0.85 * 1e6 / busy


def test_leaves_steps_that_are_each_a_little_slower(world: World) -> None:
    world.run(1e5, steady(PLAIN), steady(FAST))
    rate = world.run(world.now + 5e6, steady(PLAIN), steady(1.3 * PLAIN))
    assert rate > 0.95 * 1e6 / PLAIN and world.facts()["chosen"] == "plain"


def test_comes_back_when_the_load_is_gone(world: World) -> None:
    world.run(1e6, steady(PLAIN), steady(FAST))
    world.run(world.now + 20e6, steady(1.3 * PLAIN), steady(5 * PLAIN))
    world.run(world.now + 5e6, steady(PLAIN), steady(FAST))
    assert world.facts()["chosen"] == "cooperative"
    assert world.run(world.now + 2e6, steady(PLAIN), steady(FAST)) > 1.8e6 / PLAIN
    notes = world.notes()
    assert len(notes) == 1 and "cooperative steps became slower" in notes[0]


def test_one_hiccup_costs_a_few_plain_steps(world: World) -> None:
    world.run(1e5, steady(PLAIN), steady(FAST))
    world.ways.clear()
    steps = iter([8 * FAST])
    world.run(world.now + 1e5, steady(PLAIN), lambda _: next(steps, FAST))
    assert 0 < world.ways.count("plain") < 100 and world.ways[-1] == "cooperative"
    assert world.notes() == []


def test_a_growing_context_is_no_slowness(world: World) -> None:
    def grows(now: float) -> float:
        return 1 + 4 * now / 20e6

    world.run(20e6, lambda now: PLAIN * grows(now), lambda now: FAST * grows(now))
    assert world.ways.count("plain") < 0.06 * len(world.ways)
    assert world.facts()["chosen"] == "cooperative"


def test_a_way_that_measured_slower_is_tried_again(world: World) -> None:
    world.say(f"start {PLAIN} {2 * PLAIN}")
    world.run(1e5, steady(PLAIN), steady(FAST))
    assert set(world.ways) == {"plain"}
    world.run(6e6, steady(PLAIN), steady(FAST))
    assert world.facts()["chosen"] == "cooperative"


def test_steps_that_nobody_waited_for_are_forgotten(world: World) -> None:
    world.run(1e5, steady(PLAIN), steady(FAST))
    world.say("settled")
    world.ahead.clear()
    world.run(world.now + 1e5, steady(PLAIN), steady(FAST))
    assert set(world.ways) == {"cooperative"}


def test_a_step_of_unknown_length_changes_nothing(world: World) -> None:
    world.run(1e5, steady(PLAIN), steady(FAST))
    steps = iter([STOPPED])
    world.run(world.now + STOPPED + 1e5, steady(PLAIN), lambda _: next(steps, FAST))
    assert set(world.ways) == {"cooperative"}


def test_a_process_that_was_stopped_comes_back(world: World) -> None:
    world.run(1e5, steady(PLAIN), steady(FAST))
    steps = iter([0.9 * STOPPED])
    world.run(world.now + STOPPED + 20e6, steady(PLAIN), lambda _: next(steps, FAST))
    assert world.facts()["chosen"] == "cooperative"
