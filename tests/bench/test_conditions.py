"""Conditions of a benchmark: what heat did, and whether figures were taken under throttling."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench import plan_bench as bench
from toolkit.bench.conditions import Watch, heat_signs, lines, shell_of, slower
from toolkit.bench.trials import Trial, run_trials
from toolkit.phone.state import Battery, Cluster, PhoneState


def state(**facts: Any) -> PhoneState:
    return PhoneState(at_s=0.0, **facts)


def trials(*rates: float) -> list[Trial]:
    return [Trial(1.0, 1 / rate, (7,)) for rate in rates]


def watch(*states: PhoneState) -> Watch:
    found = Watch(lambda command: "")
    found.states = list(states)
    return found


def cluster(limit: float) -> tuple[Cluster, ...]:
    return (Cluster((7,), limit, limit, 3300.0),)


COOL = state(thermal_status=0, gpu_limit_mhz=903.0, clusters=cluster(3300.0))


@pytest.mark.parametrize(
    "now, words",
    [
        (COOL, ""),
        (state(thermal_status=2), "from none to moderate"),
        (state(gpu_limit_mhz=680.0), "from 903 to 680 MHz"),
        (state(gpu_limit_mhz=900.0), ""),  # a step of the governor
        (state(clusters=cluster(2800.0)), "core 7 and its like fell from 3300 to 2800 MHz"),
        (state(), ""),
    ],
)
def test_signs_of_heat(now: PhoneState, words: str) -> None:
    found = "; ".join(heat_signs(COOL, now))
    assert (words in found) if words else found == ""


def test_hot_from_the_start_is_a_sign_too() -> None:
    hot = state(thermal_status=3)
    assert list(heat_signs(hot, hot)) == ["Android's thermal status was severe from the start"]
    warm = state(thermal_status=1)
    assert list(heat_signs(warm, warm)) == []


@pytest.mark.parametrize(
    "rates, is_slower",
    [
        ((50.0, 50.0, 49.0, 40.0, 39.0), True),
        ((50.0, 45.0, 41.0, 37.0, 33.0), True),
        ((50.0, 42.0, 51.0, 41.0, 45.0), False),  # neighbours differ as much
        ((50.0, 49.0, 49.5, 48.5), False),
        ((40.0, 45.0, 50.0), False),
        ((50.0, 30.0), False),  # two tell nothing
        ((), False),
    ],
)
def test_slower_beyond_the_noise(rates: tuple[float, ...], is_slower: bool) -> None:
    assert bool(slower(trials(*rates))) is is_slower


def test_throttled_and_from_which_repeat_on() -> None:
    hot = state(thermal_status=2, gpu_limit_mhz=903.0)
    found = watch(COOL, COOL, hot, hot).report(trials(50, 50, 40))
    assert (found["throttled"], found["first_throttled_repeat"]) == (True, 1)
    assert any("moderate" in reason for reason in found["reasons"])
    json.dumps(found)


def test_not_throttled_unknown_and_slowing() -> None:
    assert watch(COOL, COOL).report(trials(50))["throttled"] is False
    silent = watch(state(), state()).report(trials(50))
    assert (silent["throttled"], silent["reasons"], silent["battery_percent"]) == (None, [], None)
    slowing = watch(COOL, COOL, COOL, COOL).report(trials(50, 50, 49, 40))
    assert slowing["throttled"] is None and "20% slower" in slowing["reasons"][0]


def test_lines_tell_what_is_known() -> None:
    first = state(battery=Battery(80, 30.0, "USB"), thermal_status=0, gpu_mhz=900.0)
    last = state(battery=Battery(78, 36.0, "USB"), thermal_status=1, gpu_mhz=600.0)
    conditions = watch(first, last).report(trials(50))
    text = "\n".join(lines(conditions))
    for words in ("30 to 36 °C", "900 to 600 MHz", "none to light", "80 to 78 %, powered by USB"):
        assert words in text
    assert conditions["battery_percent"] == -2
    assert list(lines(watch(state(), state()).report([]))) == []


def test_it_looks_before_each_repeat() -> None:
    seen = Watch(lambda command: "=== battery\n  temperature: 300\n")

    class One:
        name = "one"

        def start(self, prompt: Any) -> int:
            return 1

        def decode(self, token: int, count: int) -> Iterator[int]:
            return iter([token] * count)

    found = run_trials([One()], [[1]], 2, 3, lambda *_: None, seen.before_repeat)
    assert len(seen.states) == 3
    times = [trial.at_s for trial in found["one"][0]]
    assert times == sorted(times) and times[0] >= seen.states[0].at_s
    assert seen.states[0].skin_celsius == 30.0


def test_cooling_gives_up_once() -> None:
    found = Watch(lambda command: "", cool_to=35.0)
    asked = list[float]()

    def impatient(shell: Any, celsius: float, progress: Callable[..., None]) -> tuple[bool, str]:
        asked.append(celsius)
        return False, "still hot"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.bench.conditions.wait_until_cool", impatient)
        found.cool()
        found.cool()
    assert (asked, found.cooled) == ([35.0], ["still hot"])


def test_a_phone_is_asked_over_adb_and_this_machine_by_its_shell(executor: Any) -> None:
    class Phone:
        def shell(self, command: str) -> str:
            return f"phone: {command}"

    assert shell_of(executor)("echo $((1 + 1)); exit 3") == "2\n"
    executor.target = Phone()
    assert shell_of(executor)("x") == "phone: x"


def test_bench_has_conditions_and_series(monkeypatch: pytest.MonkeyPatch, executor: Any) -> None:
    monkeypatch.setattr(bench, "open_executor", lambda path, on, **options: executor)
    monkeypatch.setattr(bench, "load_plan", lambda path, note: executor.plan)
    figures = bench.bench(Path("plan"), on="host", prompt_tokens=20, new_tokens=8, repeats=3)
    assert len(figures["conditions"]["states"]) == 4
    assert len(figures["series"]["decode_s"]) == len(figures["series"]["at_s"]) == 3
    assert figures["about"]["plan"] == "plan"
