"""Truth in figures: a probe of a phone, and what heat does to a benchmark there."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from device import Device
from phone_files import SERVICES

from toolkit import cli
from toolkit.devices import resolve as devices
from toolkit.phone import state as phone_state
from toolkit.phone.adb import find_phone
from toolkit.phone.layout import HOME
from toolkit.phone.state import read_state

BENCH = ("--on", "phone", "--prompt-tokens", 8, "--new-tokens", 4, "--repeats", 3)


def call(*args: Any) -> Result:
    return CliRunner().invoke(cli.cli, [str(arg) for arg in args])


def thermal(status: int, skin: float) -> str:
    text = SERVICES["thermalservice"].replace("Thermal Status: 0", f"Thermal Status: {status}")
    return text.replace("mValue=33.4", f"mValue={skin}")


def test_a_state_over_adb(warm_phone: Device) -> None:
    found = find_phone()
    before = len(warm_phone.commands)
    state = read_state(lambda command: found.shell(command, check=False))
    assert len(warm_phone.commands) == before + 1  # one round trip
    assert (state.thermal_word, state.skin_celsius, state.screen_on) == ("none", 33.4, True)
    assert (state.battery.level, state.battery.powered) == (83, "USB")
    assert state.zones["skin-therm"] == pytest.approx(33.4)
    assert state.memory_available_bytes


@pytest.mark.slow
def test_a_probe_of_a_phone(
    warm_phone: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    warm_phone.files.set_properties({"ro.soc.model": "SM8550"})
    result = call("devices", "--probe", "--on", "phone", "--save", "this-phone", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["read"]["bytes_per_s"] > 0 and found["flash"]["reads"]
    assert found["phone"]["serial"] == warm_phone.serial and found["soc"] == "SM8550"
    assert found["class"] == "adreno"  # of its SoC, although PoCL answers here
    assert devices.profiles()["this-phone"]["from"] == found["saved"]
    assert list(warm_phone.root.locate(f"{HOME}/sessions").glob("*")) == []
    assert list(warm_phone.root.locate(HOME).rglob("pocketcl-probe*")) == []


@pytest.mark.slow
def test_bench_on_a_hot_phone_says_so(warm_phone: Device, demo: Path, tmp_path: Path) -> None:
    warm_phone.files.set_service("thermalservice", thermal(2, 47.0))
    page = tmp_path / "report.html"
    result = call("bench", demo, *BENCH, "--report", page)
    assert result.exit_code == 0, result.output
    assert "THROTTLED" in result.stdout and "moderate from the start" in result.stdout
    assert "Throttled:" in page.read_text() and "PocketCL Loopback" in page.read_text()


@pytest.mark.slow
def test_bench_waits_until_the_phone_is_cool(
    warm_phone: Device, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone_state, "LOOK_S", 0.1)
    warm_phone.files.set_service("thermalservice", thermal(0, 41.0))
    before = len(warm_phone.commands)

    ended = threading.Event()

    def cool_down() -> None:  # once it was seen to be too warm
        while not any("dumpsys battery" in c for c in warm_phone.commands[before:]):
            if ended.wait(0.02):
                return
        warm_phone.files.set_service("thermalservice", thermal(0, 34.0))

    fan = threading.Thread(target=cool_down)
    fan.start()
    result = call("bench", demo, *BENCH, "--cool-to", 35, "--json")
    ended.set()
    fan.join()
    assert result.exit_code == 0, result.output
    conditions = json.loads(result.stdout)["conditions"]
    assert [story.partition(" °C")[0] for story in conditions["cooled"]] == ["34.0"] * 3
    assert {state["skin_celsius"] for state in conditions["states"]} == {34.0}
    assert conditions["throttled"] is False


def test_options_that_do_not_fit(demo: Path) -> None:
    for words in (("--save", "x"), ("--on", "phone"), ("--serial", "S")):
        assert call("devices", *words).exit_code == 2
    assert call("bench", "--kernels", "--report", "x.html").exit_code == 2
    refused = call("bench", demo, "--report", "x.pdf")
    assert refused.exit_code == 1 and "HTML" in refused.stderr
    bad = call("devices", "--probe", "--save", "../x")
    assert bad.exit_code == 1 and "cannot be the name" in bad.stderr
