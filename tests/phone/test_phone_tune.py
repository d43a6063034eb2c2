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
    words = ("--kernel", "gemv_cpu", "--repeats", 1, "--budget", 1)
    found = figures("tune", demo, "--on", "phone", *words)
    assert {row["kernel"] for row in found["kernels"]} == {"gemv_cpu"}
    kept = tmp_path / "pocketcl/tuned/pocl.json"  # where the time was enough to decide something
    assert found["complete"] or list((tmp_path / "pocketcl/tuning").glob("*.json"))
    assert kept.exists() or not found["complete"]
    if kept.exists():
        table = json.loads(kept.read_text())
        assert table["device"] == found["device"] and "gemv_cpu" in table["kernels"]
    assert sessions(warm_phone) == []


def test_a_serial_goes_with_a_phone(demo: Path) -> None:
    assert call("tune", demo, "--serial", "S").exit_code == 2
