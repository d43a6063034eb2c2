"""Profiles: shipped and the user's own, found by name, by SoC and by what is here."""

import os
from pathlib import Path
from typing import Any

import pytest

from toolkit.cli import doctor
from toolkit.devices import match as device_match
from toolkit.devices import opencl
from toolkit.devices import resolve as devices
from toolkit.devices.names import named
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError
from toolkit.phone.adb import Seen

GPU = {
    "name": "Some GPU",
    "platform": "Vendor",
    "driver": "1.0",
    "type": "gpu",
    "compute_units": 4,
    "memory_bytes": 1 << 30,
    "align": 512,
    "local_memory_bytes": 16384,
    "features": ["fp16", "images"],
}
POCL = {**GPU, "name": "pthread-x", "platform": "Portable Computing Language", "type": "cpu"}


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's own devices.yaml, not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pocketcl").mkdir()
    return tmp_path / "pocketcl/devices.yaml"


def here(monkeypatch: pytest.MonkeyPatch, *found: dict[str, Any]) -> None:
    monkeypatch.setattr(opencl, "opencl_devices", lambda: list(found))


@pytest.mark.parametrize("name", ["snapdragon-8-gen-2", "SM8550", "sm8550"])
def test_by_name_or_soc(name: str) -> None:
    profile = devices.resolve_device(name)
    assert (profile["name"], profile["class"]) == ("snapdragon-8-gen-2", "adreno")
    assert profile["features"] == ["fp16", "subgroups", "shuffles", "images"]  # of its class


def test_an_unknown_name_says_where_the_known_ones_are() -> None:
    with pytest.raises(PocketError) as error:
        devices.resolve_device("nokia-3310")
    assert "nokia-3310" in error.value.what
    assert "profiles" in error.value.because and "pocketcl devices" in error.value.hint


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Snapdragon 8 Gen 2", "snapdragon-8-gen-2"),
        ("sm-8550", "snapdragon-8-gen-2"),
        ("Adreno 740", "snapdragon-8-gen-2"),
        ("Immortalis G720", "dimensity-9300"),
    ],
)
def test_by_other_spellings_and_by_a_gpu_that_one_has(typed: str, name: str) -> None:
    assert devices.resolve_device(typed)["name"] == name


def test_a_gpu_that_several_have() -> None:
    with pytest.raises(PocketError, match="snapdragon-8-plus-gen-1"):
        devices.resolve_device("adreno 730")


def test_every_profile_is_found_by_its_names() -> None:
    known = profiles()
    for name, facts in known.items():
        for word in (name, *device_match.socs(facts)):
            assert named(word.upper().replace("-", " "), known) == name


def test_by_the_serial_of_a_phone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "all_phones", lambda: [Seen("R5CT30ABCDE", "device")])
    monkeypatch.setattr(devices, "_on_phone", lambda serial: {"name": serial})
    assert devices.resolve_device("R5CT30ABCDE") == {"name": "R5CT30ABCDE"}


def test_pocl_is_class_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, POCL)
    assert devices.resolve_device() == {
        "name": "pocl",
        "class": "cpu",
        "align": 512,
        "features": [],
        "compute_units": 4,
        "local_memory": 16384,  # less than its class has
    }


def test_a_gpu_comes_first_and_only_has_what_it_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, POCL, GPU)
    profile = devices.resolve_device()
    assert (profile["name"], profile["class"], profile["align"]) == ("generic", "generic", 512)
    assert profile["features"] == []


def test_no_device_here_is_an_error_with_a_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch)
    with pytest.raises(PocketError) as error:
        devices.resolve_device()
    assert "--device" in error.value.hint


def test_the_newer_pocl_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = {**POCL, "driver": "3.0-rc2"}, {**POCL, "driver": "3.1+debian"}
    here(monkeypatch, old, new)
    assert opencl.best_device() == new
    assert doctor._faster_pocl([old]) and not doctor._faster_pocl([old, new])


def test_own_profiles_join_and_change_the_shipped_ones(config: Path) -> None:
    config.write_text(
        "devices:\n  pocl: {align: 256}\n  mine: {class: mali, soc: X1, features: [fp16]}\n"
    )
    assert devices.resolve_device("pocl")["align"] == 256
    assert devices.resolve_device("x1")["features"] == ["fp16"]
    assert profiles()["mine"]["from"] == str(config)


@pytest.mark.parametrize(
    "text, fact",
    [
        ("devices: {a: {class: gpu}}", "class"),
        ("devices: {a: {class: mali, align: 100}}", "align"),
        ("devices: {a: {class: mali, features: [magic]}}", "magic"),
        ("devices: {a: {class: mali, local_memory: 32 KiB}}", "32 KiB"),
        ("devices: {a: {class: mali, local_memory: 0}}", "local_memory"),
        ("devices: [a, b]", "devices:"),
        ("just words", "devices:"),
        ("devices: {a: [", "line"),
        ("devices: {a: null}", "devices:"),
    ],
)
def test_a_bad_profile_is_named(config: Path, text: str, fact: str) -> None:
    config.write_text(text)
    with pytest.raises(PocketError) as error:
        profiles()
    assert str(config) in error.value.what
    assert fact in error.value.because


def test_every_shipped_entry_says_where_it_is_from() -> None:
    for name, facts in profiles().items():
        assert facts.get("source"), name


def test_phones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    adb = tmp_path / "adb"
    answers = [
        "case $* in",
        "version) echo 'Android Debug Bridge version 1.0.41';;",
        "devices*) printf 'List of devices attached\\n0A1B  unauthorized usb:1-2\\n';;",
        "esac",
    ]
    adb.write_text("\n".join(["#!/bin/sh", *answers]))
    os.chmod(adb, 0o755)
    monkeypatch.setenv("ADB", str(adb))
    assert devices.phones() == [{"serial": "0A1B", "state": "unauthorized", "model": ""}]
    monkeypatch.setenv("ADB", "/nonexistent/adb")
    assert devices.phones() == []
