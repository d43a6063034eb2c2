"""Commands around phones: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from device import Device

from toolkit import cli
from toolkit.errors import PocketError
from toolkit.phone import pair as phone_pair
from toolkit.phone.adb import Seen, find_phone
from toolkit.phone.adb_program import Done
from toolkit.phone.layout import HOME
from toolkit.phone.store import Item, Store, file_item
from toolkit.progress import Progress


def call(*args: Any) -> Result:
    return CliRunner().invoke(cli.cli, [str(arg) for arg in args])


@pytest.mark.slow
def test_demo_on_a_phone(warm_phone: Device) -> None:
    """Compiled for the phone that is there, verified on it, told on it."""
    result = call("demo", "--on", "phone", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["compile"]["device"] == "pocl"
    assert found["verify"]["ok"] and found["verify"]["executor"] == "phone"
    assert found["run"]["text"].startswith(", there was") and found["run"]["executor"] == "phone"
    assert found["run"]["phone"]["serial"] == warm_phone.serial


def test_phones_in_words(warm_phone: Device) -> None:
    find_phone().shell(f"mkdir -p {HOME}/plans/x {HOME}/blobs")
    said = call("phone", "list").stdout
    assert warm_phone.serial in said and "LOOPBACK, Android 14" in said and "plans" in said
    assert "LOOPBACK" in call("devices").stdout
    result = call("phone", "clean", "--all")
    assert "MiB freed" in result.stdout and "0.0 MiB left" in result.stdout


def test_no_phone_in_words(adb: Any) -> None:
    assert "no phone" in call("phone", "list").stdout
    assert "Phones\n  none" in call("devices").stdout
    result = call("phone", "clean")
    assert result.exit_code == 1 and "no phone is connected" in result.stderr


def test_doctor_fails_for_the_phone_that_was_named(adb: Any) -> None:
    result = call("doctor", "--serial", "R5CT")
    assert result.exit_code == 1
    assert "MISSING phone" in " ".join(result.stdout.split()) and "USB debugging" in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("run", "PLAN", "--ids", "1", "--serial", "x"),
        ("compile", "PLAN", "-o", "out", "--serial", "x"),
        ("bench", "--kernels", "--on", "phone"),
        ("phone", "pair", "192.168.1.7:37000"),
    ],
)
def test_wishes_that_contradict_each_other(words: tuple[str, ...], tmp_path: Path) -> None:
    result = call(*(tmp_path if word == "PLAN" else word for word in words))
    assert result.exit_code == 2 and "Usage" in result.stderr


# --- pairing -------------------------------------------------------------------------------------


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Done]:
    """What adb says next; a phone is connected afterwards."""
    said: list[Done] = []
    monkeypatch.setattr(phone_pair, "run_adb", lambda *words, timeout: said.pop(0))
    monkeypatch.setattr(phone_pair, "all_phones", lambda: [Seen("192.168.1.7:39123", "device")])
    monkeypatch.setattr("time.sleep", lambda _: None)
    return said


def test_how_pairing_goes() -> None:
    said = call("phone", "pair").stdout
    assert "Wireless debugging" in said and "pocketcl phone pair HOST:PORT CODE" in said


def test_pairing_connects(answers: list[Done]) -> None:
    answers.append(Done(0, "Successfully paired to 192.168.1.7:37000 [guid=adb-R5CT]\n", ""))
    said = call("phone", "pair", "192.168.1.7:37000", "123456").stdout
    assert said == "paired with 192.168.1.7:37000\nconnected: 192.168.1.7:39123\n"


@pytest.mark.parametrize(
    "done, because, hint",
    [
        (Done(1, "", "adb: unknown command pair\n"), "version 30", "pocketcl[android]"),
        (Done(1, "Failed: Wrong password or connection was dropped.\n", ""), "Wrong", "pairing"),
        (Done(0, "Failed: Unable to start pairing client.\n", ""), "Unable", "change each time"),
    ],
)
def test_pairing_that_fails(answers: list[Done], done: Done, because: str, hint: str) -> None:
    answers.append(done)
    with pytest.raises(PocketError) as error:
        list(phone_pair.pair("192.168.1.7:37000", "123456"))
    assert because in error.value.because and hint in error.value.hint


def test_paired_and_not_found(answers: list[Done], monkeypatch: pytest.MonkeyPatch) -> None:
    answers.append(Done(0, "Successfully paired to x:1\n", ""))
    monkeypatch.setattr(phone_pair, "all_phones", list)
    with pytest.raises(PocketError, match="not connected yet") as error:
        list(phone_pair.pair("192.168.1.7:37000", "123456"))
    assert "adb connect HOST:PORT" in error.value.hint


@pytest.mark.parametrize("words", [("192.168.1.7", "123456"), ("192.168.1.7:1", "12345")])
def test_what_is_no_address_or_code(words: tuple[str, str]) -> None:
    with pytest.raises(PocketError, match="can't be paired with"):
        list(phone_pair.pair(*words))


# --- progress ------------------------------------------------------------------------------------


def test_a_push_tells_how_far_it_is(
    phone: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within a large file: the phone is asked for what has arrived."""
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(Progress, "visible", lambda self: True)
    monkeypatch.setattr(
        Progress, "__call__", lambda self, text, *counts: told.append((text, *counts))
    )
    large = tmp_path / "weights.0.bin"
    large.write_bytes(bytes(24 << 20))
    items: list[Item] = [file_item(large.name, large)]
    phone.faults.bytes_per_second = 8 << 20
    Store(find_phone()).install("plans", items)
    shares = [counts for text, *counts in told if text.endswith("weights.0.bin")]
    assert shares[0] == [0, 24 << 20]
    assert any(0 < done < total for done, total in shares)
    assert told[-1][0] == ""
