"""`tune --on phone`: measured there, kept here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import call, figures, sessions
from device import Device


def test_a_phone_is_tuned(
    warm_phone: Device, demo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    table, journals = tmp_path / "pocketcl/tuned/pocl.json", tmp_path / "pocketcl/tuning"
    words = ("tune", demo, "--on", "phone", "--kernel", "attention_decode_cpu", "--repeats", 1)
    found = figures(*words)
    assert found["complete"] and {row["kernel"] for row in found["kernels"]} == {
        "attention_decode_cpu"
    }
    kept = json.loads(table.read_text())
    assert kept["device"] == found["device"] and "attention_decode_cpu" in kept["kernels"]
    assert not list(journals.glob("*.json")) and sessions(warm_phone) == []


def test_a_serial_goes_with_a_phone(demo: Path) -> None:
    assert call("tune", demo, "--serial", "S").exit_code == 2
